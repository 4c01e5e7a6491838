-- title  = "A table has many dead rows"
-- option.rows    = { default = 100000, help = "tables with fewer dead rows are ignored" }
-- option.warning = { default = 0.20, help = "share of the rows that are dead" }
-- option.high    = { default = 0.50, help = "share of the rows that are dead" }
-- summary = "{dead_rows} dead rows, {percent} % of all; last vacuumed {vacuumed}"
-- remedy = "VACUUM {object}; if they remain, see what holds the xmin horizon back: sereno check xmin_horizon"
-- es.title = "Una tabla tiene muchas filas muertas"
-- es.summary = "{dead_rows} filas muertas, {percent} % del total; último vacuum: {vacuumed}"
-- es.remedy = "VACUUM {object}; si siguen, ver qué retiene el horizonte xmin: sereno check xmin_horizon"
-- source = "PostgreSQL manual, 25.1.2 Recovering Disk Space; pg_stat_user_tables"
SELECT format('%I.%I', schemaname, relname) AS object,
       round(n_dead_tup::numeric / (n_live_tup + n_dead_tup), 4)::float8 AS value,
       round(100 * n_dead_tup::numeric / (n_live_tup + n_dead_tup), 1) AS percent,
       coalesce(to_char(greatest(last_vacuum, last_autovacuum), 'YYYY-MM-DD HH24:MI TZ'), 'never') AS vacuumed,
       n_dead_tup AS dead_rows
FROM pg_catalog.pg_stat_user_tables
WHERE n_dead_tup >= :rows AND n_dead_tup > 0
  AND n_dead_tup::numeric / (n_live_tup + n_dead_tup) >= least(:warning, :high)
ORDER BY n_dead_tup DESC, 1
