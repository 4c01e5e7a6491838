-- title   = "pg_hba.conf has a line that the server cannot read"
-- scope   = "cluster"
-- summary = "line {line}: {error}; the next reload or restart fails"
-- remedy  = "correct line {line} of {file}, then SELECT pg_reload_conf();"
-- es.title   = "pg_hba.conf tiene una línea que el servidor no puede leer"
-- es.summary = "línea {line}: {error}; la próxima recarga o el próximo reinicio falla"
-- es.remedy  = "corregir la línea {line} de {file} y luego SELECT pg_reload_conf();"
-- source  = "PostgreSQL manual, 53.10 pg_hba_file_rules (needs EXECUTE on pg_hba_file_rules())"
SELECT format('line %s', line_number) AS object, 1 AS value, 'high' AS severity,
       line_number AS line, error, current_setting('hba_file') AS file
FROM pg_catalog.pg_hba_file_rules
WHERE error IS NOT NULL
ORDER BY line_number
