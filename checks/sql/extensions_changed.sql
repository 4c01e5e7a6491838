-- title   = "An extension is new, has another version, or is gone"
-- changes = ["new", "changed", "gone"]
-- option.days = { default = 7, help = "days for which a change is told" }
-- summary = "{what} (since {since})"
-- remedy  = "if that is not meant: find out who ran CREATE, ALTER or DROP EXTENSION {object}"
-- es.title   = "Una extensión es nueva, tiene otra versión o falta"
-- es.summary = "{what_es} (desde {since})"
-- es.remedy  = "si no es intencional: averiguar quién ejecutó CREATE, ALTER o DROP EXTENSION {object}"
-- source  = "pg_extension"
SELECT quote_ident(extname) AS object, 1 AS value, 'info' AS severity, extversion AS state
FROM pg_catalog.pg_extension
ORDER BY 1
