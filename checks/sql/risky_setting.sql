-- title   = "A setting puts data or maintenance at risk"
-- scope   = "cluster"
-- summary = "{object} is {setting}: {risk}"
-- remedy  = "ALTER SYSTEM RESET {object}; then SELECT pg_reload_conf(); (or remove it from the configuration file)"
-- es.title   = "Un parámetro pone en riesgo los datos o el mantenimiento"
-- es.summary = "{object} está en {setting}: {risk_es}"
-- es.remedy  = "ALTER SYSTEM RESET {object}; y luego SELECT pg_reload_conf(); (o quitarlo del archivo de configuración)"
-- source  = "PostgreSQL manual, 19.5.1, 19.17 and 19.10; only values of the server, not of a session"
SELECT s.name AS object, 1 AS value, r.severity, s.reset_val AS setting, r.risk,
       r.risk_es
FROM pg_catalog.pg_settings s
JOIN (VALUES
  ('fsync', 'off', 'critical', 'a crash of the operating system can destroy the cluster',
   'una caída del sistema operativo puede destruir el clúster'),
  ('full_page_writes', 'off', 'critical', 'a crash during a write can leave torn pages',
   'una caída durante una escritura puede dejar páginas a medias'),
  ('zero_damaged_pages', 'on', 'critical', 'damaged pages are replaced by empty ones without an error',
   'las páginas dañadas se reemplazan por vacías sin ningún error'),
  ('ignore_checksum_failure', 'on', 'critical', 'damaged pages are used without an error',
   'las páginas dañadas se usan sin ningún error'),
  ('ignore_system_indexes', 'on', 'high', 'every catalog lookup reads whole tables',
   'cada búsqueda en el catálogo lee tablas enteras'),
  ('allow_system_table_mods', 'on', 'high', 'a mistake can change the catalog', 'un error puede cambiar el catálogo'),
  ('autovacuum', 'off', 'high', 'dead rows stay and statistics age wherever sereno does not work',
   'las filas muertas quedan y las estadísticas envejecen donde sereno no trabaja'),
  ('track_counts', 'off', 'high', 'autovacuum and sereno do not see what has changed',
   'autovacuum y sereno no ven qué ha cambiado'),
  ('synchronous_commit', 'off', 'info', 'a crash loses the transactions of the last moments',
   'una caída pierde las transacciones de los últimos momentos')
) AS r (name, setting, severity, risk, risk_es) ON r.name = s.name AND r.setting = s.reset_val
ORDER BY 1
