-- title   = "A configuration file has an entry that the server cannot apply"
-- scope   = "cluster"
-- summary = "{file}, line {line}: {error}"
-- remedy  = "correct line {line} of {file}, then SELECT pg_reload_conf();"
-- es.title   = "Un archivo de configuración tiene una entrada que el servidor no puede aplicar"
-- es.summary = "{file}, línea {line}: {error}"
-- es.remedy  = "corregir la línea {line} de {file} y luego SELECT pg_reload_conf();"
-- source  = "PostgreSQL manual, 53.8 pg_file_settings (needs EXECUTE on pg_show_all_file_settings()); changes that need a restart are another check"
SELECT coalesce(f.name, format('line %s', f.sourceline)) AS object, 1 AS value, 'high' AS severity,
       f.sourcefile AS file, f.sourceline AS line, f.error
FROM pg_catalog.pg_file_settings f
LEFT JOIN pg_catalog.pg_settings s USING (name)
WHERE f.error IS NOT NULL AND NOT coalesce(s.pending_restart, false)
  AND f.error !~ 'without restarting'
ORDER BY f.seqno
