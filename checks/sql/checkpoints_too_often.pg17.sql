-- title   = "Checkpoints come from too much WAL, not from the clock"
-- scope   = "cluster"
-- summary = "for one checkpoint that was due, {per_day} because max_wal_size ({size}) was reached"
-- remedy  = "ALTER SYSTEM SET max_wal_size = '{better}'; SELECT pg_reload_conf();"
-- es.title   = "Los puntos de control llegan por exceso de WAL, no por el reloj"
-- es.summary = "por cada punto de control previsto, {per_day} por alcanzar max_wal_size ({size})"
-- es.remedy  = "ALTER SYSTEM SET max_wal_size = '{better}'; SELECT pg_reload_conf();"
-- option.warning = { default = 0.5, help = "requested checkpoints for each checkpoint_timeout, since the last run" }
-- per     = "day"
-- source  = "PostgreSQL manual, 28.5 WAL Configuration"
SELECT 'max_wal_size' AS object,
       num_requested::float8 * extract(epoch FROM current_setting('checkpoint_timeout')::interval) / 86400 AS value,
       current_setting('max_wal_size') AS size,
       2 * pg_catalog.pg_size_bytes(current_setting('max_wal_size')) / 1048576 || 'MB' AS better
FROM pg_catalog.pg_stat_checkpointer
