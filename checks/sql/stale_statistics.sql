-- title  = "Statistics are stale"
-- option.rows = { default = 10000, help = "tables with fewer changed rows are ignored" }
-- option.days = { default = 7, help = "younger statistics are ignored" }
-- summary = "{changed} rows changed since it was analyzed ({analyzed})"
-- remedy = "ANALYZE {object}; see why the analyze job does not do it: sereno plan analyze"
-- es.title = "Las estadísticas están desactualizadas"
-- es.summary = "{changed} filas cambiadas desde el último análisis ({analyzed})"
-- es.remedy = "ANALYZE {object}; ver por qué no lo hace el trabajo analyze: sereno plan analyze"
-- source = "PostgreSQL manual, 25.1.3 Updating Planner Statistics; pg_stat_user_tables"
SELECT format('%I.%I', schemaname, relname) AS object,
       n_mod_since_analyze AS value,
       'warning' AS severity,
       n_mod_since_analyze AS changed, coalesce(to_char(greatest(last_analyze, last_autoanalyze), 'YYYY-MM-DD'), 'never') AS analyzed
FROM pg_catalog.pg_stat_user_tables
WHERE n_mod_since_analyze >= :rows
  AND n_mod_since_analyze > current_setting('autovacuum_analyze_threshold')::float8
                            + current_setting('autovacuum_analyze_scale_factor')::float8 * n_live_tup
  AND coalesce(greatest(last_analyze, last_autoanalyze), '-infinity') < now() - make_interval(days => :days)
ORDER BY 2 DESC, 1
