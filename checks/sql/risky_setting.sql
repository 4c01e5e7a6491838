-- title   = "A setting puts data or maintenance at risk"
-- scope   = "cluster"
-- summary = "{object} is {setting}: {risk}"
-- remedy  = "ALTER SYSTEM RESET {object}; then SELECT pg_reload_conf(); (or remove it from the configuration file)"
-- es.title   = "Un parámetro pone en riesgo los datos o el mantenimiento"
-- es.summary = "{object} vale {setting}"
-- es.remedy  = "ALTER SYSTEM RESET {object}; y luego SELECT pg_reload_conf(); (o quitarlo del archivo de configuración)"
-- source  = "PostgreSQL manual, 19.5.1, 19.17 and 19.10; only values of the server, not of a session"
SELECT s.name AS object, 1 AS value, r.severity, s.reset_val AS setting, r.risk
FROM pg_catalog.pg_settings s
JOIN (VALUES
  ('fsync', 'off', 'critical', 'a crash of the operating system can destroy the cluster'),
  ('full_page_writes', 'off', 'critical', 'a crash during a write can leave torn pages'),
  ('zero_damaged_pages', 'on', 'critical', 'damaged pages are replaced by empty ones without an error'),
  ('ignore_checksum_failure', 'on', 'critical', 'damaged pages are used without an error'),
  ('ignore_system_indexes', 'on', 'high', 'every catalog lookup reads whole tables'),
  ('allow_system_table_mods', 'on', 'high', 'a mistake can change the catalog'),
  ('autovacuum', 'off', 'high', 'dead rows stay and statistics age wherever sereno does not work'),
  ('track_counts', 'off', 'high', 'autovacuum and sereno do not see what has changed'),
  ('synchronous_commit', 'off', 'info', 'a crash loses the transactions of the last moments')
) AS r (name, setting, severity, risk) ON r.name = s.name AND r.setting = s.reset_val
ORDER BY 1
