-- title   = "A table has no primary key"
-- summary = "about {rows} rows, and no unique key without NULL{consequence}"
-- remedy  = "ALTER TABLE {object} ADD PRIMARY KEY (…); (over the column that identifies a row)"
-- es.title   = "Una tabla no tiene clave primaria"
-- es.summary = "unas {rows} filas y ninguna clave única sin NULL"
-- es.remedy  = "ALTER TABLE {object} ADD PRIMARY KEY (…); (sobre la columna que identifica una fila)"
-- option.rows = { default = 10000, help = "smaller tables are ignored" }
-- source  = "PostgreSQL manual, 5.5.4; published tables: 29.1"
SELECT format('%I.%I', n.nspname, c.relname) AS object, c.reltuples::float8 AS value,
       CASE WHEN published.updates THEN 'warning' ELSE 'info' END AS severity, c.reltuples::bigint AS rows,
       CASE WHEN published.updates THEN '; it is published, so UPDATE and DELETE fail' ELSE '' END AS consequence
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
  SELECT c.relreplident <> 'f' AND EXISTS (
    SELECT FROM pg_catalog.pg_publication b
    WHERE (b.pubupdate OR b.pubdelete)
      AND (b.puballtables OR EXISTS (SELECT FROM pg_catalog.pg_publication_rel r WHERE r.prpubid = b.oid AND r.prrelid = c.oid))
  ) AS updates
) published
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence = 'p' AND c.reltuples >= :rows
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'sereno')
  AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_index x
    WHERE x.indrelid = c.oid AND x.indisunique AND x.indisvalid AND x.indpred IS NULL AND x.indexprs IS NULL
      AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum = ANY ((x.indkey::int2[])[0:x.indnkeyatts - 1]) AND NOT a.attnotnull))
ORDER BY 2 DESC, 1
