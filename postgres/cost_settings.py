"""Session settings that make VACUUM, ANALYZE and index builds gentle or fast."""

from psycopg import sql

SET = sql.SQL(
    """
    SELECT set_config(s.name, CASE s.name
             WHEN 'vacuum_cost_delay' THEN greatest(s.reset_val::float8, %(delay)s)::text
             WHEN 'vacuum_cost_limit' THEN
               CASE WHEN d.reset_val::float8 > 0 THEN s.reset_val ELSE %(limit)s END
             WHEN 'backend_flush_after' -- at most 0 where the system has no way to do it
               THEN least(s.max_val::int, greatest(s.reset_val::int, %(flush)s))::text
             WHEN 'max_parallel_maintenance_workers' THEN least(s.reset_val::int, %(workers)s)::text
           END, false)
    FROM pg_catalog.pg_settings s JOIN pg_catalog.pg_settings d ON d.name = 'vacuum_cost_delay'
    WHERE s.name IN ('vacuum_cost_delay', 'vacuum_cost_limit', 'backend_flush_after',
                     'max_parallel_maintenance_workers')
    """
)
FULL = {"delay": 0.0, "limit": "200", "workers": 1024, "flush": 0}
"""The default buffer ring is kept: 16 MB instead of 2 MB made ten tables of 200 MB a third slower.
"""
GENTLE = {"delay": 1.0, "limit": "400", "workers": 0, "flush": 64}
"""Cost-based delays several times faster than autovacuum's and never faster than the DBA allows
(manual, 19.10.2). Written pages are flushed at once (`backend_flush_after`) instead of at the next
checkpoint, whose burst every commit would feel."""
