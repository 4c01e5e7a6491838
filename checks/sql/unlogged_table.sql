-- title   = "A table is unlogged: a crash empties it"
-- summary = "about {rows} rows are lost when the server crashes, and standbys do not have them"
-- remedy  = "ALTER TABLE {object} SET LOGGED; (rewrites the table under an exclusive lock)"
-- es.title   = "Una tabla es UNLOGGED: una caída la vacía"
-- es.summary = "unas {rows} filas se pierden si el servidor cae, y las réplicas no las tienen"
-- es.remedy  = "ALTER TABLE {object} SET LOGGED; (reescribe la tabla con un bloqueo exclusivo)"
-- option.rows = { default = 10000, help = "smaller tables are ignored" }
-- source  = "PostgreSQL manual, CREATE TABLE, UNLOGGED"
SELECT format('%I.%I', n.nspname, c.relname) AS object, c.reltuples::float8 AS value, 'warning' AS severity,
       c.reltuples::bigint AS rows
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence = 'u' AND c.reltuples >= :rows
ORDER BY 2 DESC, 1
