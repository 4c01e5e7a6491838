-- title   = "Autovacuum is disabled for a table"
-- summary = "{what} is set, with about {rows} rows"
-- remedy  = "ALTER TABLE {object} RESET ({what});"
-- es.title   = "Autovacuum está desactivado para una tabla"
-- es.summary = "está fijado {what}, con unas {rows} filas"
-- es.remedy  = "ALTER TABLE {object} RESET ({what});"
-- option.rows = { default = 10000, help = "smaller tables are ignored" }
-- source  = "PostgreSQL manual, CREATE TABLE, Storage Parameters"
SELECT format('%I.%I', n.nspname, c.relname) AS object, c.reltuples::float8 AS value, 'warning' AS severity,
       o.name AS what, c.reltuples::bigint AS rows
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_class t ON t.oid = c.reltoastrelid
CROSS JOIN LATERAL (
  SELECT option_name AS name FROM pg_options_to_table(c.reloptions) WHERE option_name = 'autovacuum_enabled' AND NOT option_value::bool
  UNION ALL
  SELECT 'toast.' || option_name FROM pg_options_to_table(t.reloptions) WHERE option_name = 'autovacuum_enabled' AND NOT option_value::bool
  LIMIT 1
) o
WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND c.reltuples >= :rows
ORDER BY 2 DESC, 1
