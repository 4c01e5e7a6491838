-- title   = "A table has no primary key"
-- summary = "about {rows} rows, {why}"
-- remedy  = "{cure} (over the columns that identify a row)"
-- es.title   = "Una tabla no tiene clave primaria"
-- es.summary = "unas {rows} filas, {why_es}"
-- es.remedy  = "{cure} (sobre las columnas que identifican una fila)"
-- option.rows = { default = 10000, help = "smaller tables are ignored, unless they are published" }
-- source  = "PostgreSQL manual, 5.5.4; published tables: 29.1"
WITH published AS (
  SELECT DISTINCT c.oid
  FROM pg_catalog.pg_publication_tables t
  JOIN pg_catalog.pg_namespace n ON n.nspname = t.schemaname
  JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = t.tablename
  JOIN pg_catalog.pg_publication b ON b.pubname = t.pubname AND (b.pubupdate OR b.pubdelete)
)
SELECT format('%I.%I', n.nspname, c.relname) AS object, greatest(c.reltuples, 0)::float8 AS value,
       CASE WHEN fails THEN 'warning' ELSE 'info' END AS severity, greatest(c.reltuples, 0)::bigint AS rows,
       CASE WHEN fails THEN 'no replica identity: it is published, so UPDATE and DELETE fail'
            ELSE 'no unique key without NULL' END AS why,
       CASE WHEN fails THEN 'sin identidad de réplica: está publicada, así que UPDATE y DELETE fallan'
            ELSE 'ninguna clave única sin NULL' END AS why_es,
       CASE WHEN fails AND key.name IS NOT NULL
            THEN format('ALTER TABLE %I.%I REPLICA IDENTITY USING INDEX %I;', n.nspname, c.relname, key.name)
            ELSE format('ALTER TABLE %I.%I ADD PRIMARY KEY (…);', n.nspname, c.relname) END AS cure
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN LATERAL (
  SELECT i.relname AS name, x.indisprimary
  FROM pg_catalog.pg_index x
  JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
  WHERE x.indrelid = c.oid AND x.indisunique AND x.indisvalid AND x.indpred IS NULL AND x.indexprs IS NULL
    AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_attribute a
      WHERE a.attrelid = c.oid AND a.attnum = ANY ((x.indkey::int2[])[0:x.indnkeyatts - 1]) AND NOT a.attnotnull)
  ORDER BY x.indisprimary DESC, i.relname LIMIT 1
) key ON true
CROSS JOIN LATERAL (
  SELECT (c.oid IN (SELECT oid FROM published)
          OR c.relkind = 'p' AND EXISTS (
            SELECT FROM pg_catalog.pg_partition_tree(c.oid) t JOIN published p ON p.oid = t.relid))
         AND CASE c.relreplident
               WHEN 'f' THEN false
               WHEN 'n' THEN true
               WHEN 'i' THEN NOT EXISTS (SELECT FROM pg_catalog.pg_index x WHERE x.indrelid = c.oid AND x.indisreplident)
               ELSE NOT coalesce(key.indisprimary, false) END AS fails
) published_without
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence = 'p'
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'sereno')
  AND (fails OR key.name IS NULL AND c.reltuples >= :rows)
ORDER BY 2 DESC, 1
