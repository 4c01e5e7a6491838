-- title   = "A table needs VACUUM, and autovacuum does not come"
-- summary = "{dead} dead rows, over its trigger of {trigger}; last vacuumed {last}"
-- remedy  = "VACUUM (ANALYZE) {object}; if it stays: raise autovacuum_max_workers or autovacuum_vacuum_cost_limit"
-- es.title   = "Una tabla necesita VACUUM y autovacuum no llega"
-- es.summary = "{dead} filas muertas, sobre su umbral de {trigger}; último vacuum: {last}"
-- es.remedy  = "VACUUM (ANALYZE) {object}; si sigue: subir autovacuum_max_workers o autovacuum_vacuum_cost_limit"
-- option.rows  = { default = 10000, help = "tables with fewer dead rows are ignored" }
-- option.hours = { default = 24, help = "hours since the last VACUUM" }
-- source  = "PostgreSQL manual, 25.1.6; the table's own storage parameters count"
SELECT object, dead::float8 AS value,
       CASE WHEN dead > 2 * trigger AND last < now() - 3 * make_interval(hours => :hours) THEN 'high' ELSE 'warning' END AS severity,
       dead, round(trigger) AS trigger, coalesce(to_char(vacuumed, 'YYYY-MM-DD HH24:MI TZ'), 'never') AS last
FROM (
  SELECT format('%I.%I', n.nspname, c.relname) AS object, pg_catalog.pg_stat_get_dead_tuples(c.oid) AS dead,
         coalesce((SELECT option_value::float8 FROM pg_options_to_table(c.reloptions) WHERE option_name = 'autovacuum_vacuum_threshold'),
                  current_setting('autovacuum_vacuum_threshold')::float8)
         + coalesce((SELECT option_value::float8 FROM pg_options_to_table(c.reloptions) WHERE option_name = 'autovacuum_vacuum_scale_factor'),
                    current_setting('autovacuum_vacuum_scale_factor')::float8) * greatest(c.reltuples, 0) AS trigger,
         greatest(pg_catalog.pg_stat_get_last_vacuum_time(c.oid), pg_catalog.pg_stat_get_last_autovacuum_time(c.oid)) AS vacuumed
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema')
    AND pg_catalog.pg_stat_get_dead_tuples(c.oid) >= :rows
) AS one
CROSS JOIN LATERAL (SELECT coalesce(vacuumed, greatest(pg_postmaster_start_time(),
  (SELECT stats_reset FROM pg_catalog.pg_stat_database WHERE datname = current_database()))) AS last) since
WHERE dead > trigger AND last <= now() - make_interval(hours => :hours)
ORDER BY 2 DESC, 1
