-- title   = "A changed setting waits for a restart"
-- scope   = "cluster"
-- summary = "{object} was changed in {file}, and the server still uses {setting}"
-- remedy  = "restart the server at a suitable time, or undo the change"
-- es.title   = "Un parámetro cambiado espera un reinicio"
-- es.summary = "{object} se cambió en {file} y el servidor todavía usa {setting}"
-- es.remedy  = "reiniciar el servidor en un momento adecuado, o deshacer el cambio"
-- source  = "PostgreSQL manual, 53.24 pg_settings"
SELECT name AS object, 1 AS value, 'warning' AS severity, setting, coalesce(sourcefile, 'its configuration') AS file
FROM pg_catalog.pg_settings
WHERE pending_restart AND source <> 'command line' -- which a file cannot override
ORDER BY 1
