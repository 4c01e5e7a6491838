"""How fast VACUUM, ANALYZE and index builds of a session go: gently, or as fast as the server may."""

from psycopg import sql

SET = sql.SQL(
    """
    SELECT set_config('vacuum_cost_delay', greatest(d.reset_val::float8, %(delay)s)::text, false),
           set_config('vacuum_cost_limit', CASE WHEN d.reset_val::float8 > 0 THEN l.reset_val ELSE %(limit)s END,
                      false),
           set_config('max_parallel_maintenance_workers', least(w.reset_val::int, %(workers)s)::text, false),
           (SELECT set_config(b.name, CASE WHEN b.reset_val = '0' THEN '0'
                                           ELSE greatest(b.reset_val::int, %(ring)s)::text END, false)
            FROM pg_catalog.pg_settings b WHERE b.name = 'vacuum_buffer_usage_limit') -- from 16 on
    FROM pg_catalog.pg_settings d CROSS JOIN pg_catalog.pg_settings l CROSS JOIN pg_catalog.pg_settings w
    WHERE d.name = 'vacuum_cost_delay' AND l.name = 'vacuum_cost_limit' AND w.name = 'max_parallel_maintenance_workers'
    """
)
FULL = {"delay": 0.0, "limit": "200", "workers": 1024, "ring": 16 * 1024}
"""The ring of buffers in kB: a small one makes VACUUM wait for its own WAL (manual, VACUUM, BUFFER_USAGE_LIMIT)."""
GENTLE = {"delay": 2.0, "limit": "1000", "workers": 0, "ring": 0}
"""Like autovacuum, five times as fast (manual, 19.10.2 Cost-based Vacuum Delay); never faster than the DBA has set."""
