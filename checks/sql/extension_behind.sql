-- title   = "An extension is older than its installed files"
-- summary = "version {installed}, available {available}"
-- remedy  = "ALTER EXTENSION {object} UPDATE;"
-- es.title   = "Una extensión es más antigua que sus archivos instalados"
-- es.summary = "versión {installed}, disponible {available}"
-- es.remedy  = "ALTER EXTENSION {object} UPDATE;"
-- source  = "PostgreSQL manual, ALTER EXTENSION"
SELECT format('%I', e.extname) AS object, 1 AS value, 'info' AS severity,
       e.extversion AS installed, a.default_version AS available
FROM pg_catalog.pg_extension e
JOIN pg_catalog.pg_available_extensions a ON a.name = e.extname
WHERE e.extversion <> a.default_version
  AND EXISTS (SELECT FROM pg_catalog.pg_extension_update_paths(e.extname) u
              WHERE u.source = e.extversion AND u.target = a.default_version AND u.path IS NOT NULL)
ORDER BY 1
