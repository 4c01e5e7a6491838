-- title   = "A setting of the server has changed"
-- scope   = "cluster"
-- changes = ["changed"]
-- option.days = { default = 7, help = "days for which a change is told" }
-- summary = "{what} (since {since}, from {source})"
-- remedy  = "if that is not meant: set it again, by ALTER SYSTEM or in the file, then SELECT pg_reload_conf();"
-- es.title   = "Cambió un parámetro del servidor"
-- es.summary = "{what_es} (desde {since}, de {source})"
-- es.remedy  = "si no es intencional: restablecerlo, con ALTER SYSTEM o en el archivo, y SELECT pg_reload_conf();"
-- source  = "pg_settings; values that may hold a password are compared by a digest; those that sereno's session, a role or a database sets are not seen"
SELECT s.name AS object, 1 AS value, 'info' AS severity, s.source,
       CASE WHEN s.name ~ '(conninfo|_command|password|secret|\.)' AND s.reset_val <> ''
            THEN 'md5 ' || left(md5(s.reset_val), 8) ELSE s.reset_val || coalesce(' ' || s.unit, '') END AS state
FROM pg_catalog.pg_settings s
-- those of a session, a role or a database are not the server's
WHERE s.source NOT IN ('session', 'client', 'user', 'database', 'database user', 'override', 'interactive', 'test')
  AND s.context <> 'internal'
ORDER BY 1
