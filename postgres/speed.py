"""How fast VACUUM, ANALYZE and index builds of a session go: gently, or as fast as the server may."""

from psycopg import sql

SET = sql.SQL(
    """
    SELECT set_config(s.name, CASE s.name
             WHEN 'vacuum_cost_delay' THEN greatest(s.reset_val::float8, %(delay)s)::text
             WHEN 'vacuum_cost_limit' THEN CASE WHEN d.reset_val::float8 > 0 THEN s.reset_val ELSE %(limit)s END
             WHEN 'backend_flush_after' THEN greatest(s.reset_val::int, %(flush)s)::text
             WHEN 'max_parallel_maintenance_workers' THEN least(s.reset_val::int, %(workers)s)::text
             WHEN 'vacuum_buffer_usage_limit' -- from 16 on; 0 is: no ring
               THEN CASE WHEN s.reset_val = '0' THEN '0' ELSE greatest(s.reset_val::int, %(ring)s)::text END
           END, false)
    FROM pg_catalog.pg_settings s JOIN pg_catalog.pg_settings d ON d.name = 'vacuum_cost_delay'
    WHERE s.name IN ('vacuum_cost_delay', 'vacuum_cost_limit', 'backend_flush_after',
                     'max_parallel_maintenance_workers', 'vacuum_buffer_usage_limit')
    """
)
FULL = {"delay": 0.0, "limit": "200", "workers": 1024, "ring": 16 * 1024, "flush": 0}
"""The ring of buffers in kB: a small one makes VACUUM wait for its own WAL (manual, VACUUM, BUFFER_USAGE_LIMIT)."""
GENTLE = {"delay": 1.0, "limit": "500", "workers": 0, "ring": 0, "flush": 64}
"""Short breaths, several times as fast as autovacuum (manual, 19.10.2 Cost-based Vacuum Delay), and never faster than
the DBA has set. What it writes goes to the disk at once (pages of `backend_flush_after`), not in the next checkpoint's
storm, which every commit would feel.
"""
