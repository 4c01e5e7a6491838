-- title   = "Checkpoints come from too much WAL, not from the clock"
-- scope   = "cluster"
-- summary = "{per_day} checkpoints a day because max_wal_size ({size}) was reached"
-- remedy  = "ALTER SYSTEM SET max_wal_size = '{better}'; SELECT pg_reload_conf();"
-- es.title   = "Los puntos de control llegan por exceso de WAL, no por el reloj"
-- es.summary = "{per_day} puntos de control por día al alcanzar max_wal_size ({size})"
-- es.remedy  = "ALTER SYSTEM SET max_wal_size = '{better}'; SELECT pg_reload_conf();"
-- option.warning = { default = 144, help = "requested checkpoints per day, since the last run: one in ten minutes" }
-- per     = "day"
-- source  = "PostgreSQL manual, 28.5 WAL Configuration"
SELECT 'max_wal_size' AS object, num_requested AS value, current_setting('max_wal_size') AS size,
       2 * pg_catalog.pg_size_bytes(current_setting('max_wal_size')) / 1048576 || 'MB' AS better
FROM pg_catalog.pg_stat_checkpointer
