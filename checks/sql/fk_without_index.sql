-- title   = "A foreign key has no index on its columns"
-- summary = "{constraint} to {parent}: each DELETE or key change there reads all of about {rows} rows here"
-- remedy  = "CREATE INDEX CONCURRENTLY ON {table} ({columns});"
-- es.title   = "Una clave foránea no tiene índice en sus columnas"
-- es.summary = "{constraint} a {parent}: cada DELETE o cambio de clave allí lee todas las filas de aquí, unas {rows}"
-- es.remedy  = "CREATE INDEX CONCURRENTLY ON {table} ({columns});"
-- option.rows = { default = 100000, help = "smaller tables are ignored" }
-- option.warning_rows = { default = 1000000, help = "warning from so many rows on, else info" }
-- source  = "PostgreSQL manual, 5.5.5 Foreign Keys; only where rows of the parent are deleted or updated"
SELECT format('%I.%I.%I', n.nspname, c.relname, k.conname) AS object,
       c.reltuples::float8 AS value,
       CASE WHEN c.reltuples >= :warning_rows THEN 'warning' ELSE 'info' END AS severity,
       quote_ident(k.conname) AS constraint, format('%I.%I', pn.nspname, p.relname) AS parent,
       c.reltuples::bigint AS rows, format('%I.%I', n.nspname, c.relname) AS "table",
       (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY u.place)
        FROM unnest(k.conkey) WITH ORDINALITY u (number, place)
        JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.number) AS columns
FROM pg_catalog.pg_constraint k
JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_class p ON p.oid = k.confrelid
JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace
WHERE k.contype = 'f' AND k.conparentid = 0 AND c.relkind = 'r' AND c.reltuples >= :rows
  AND pg_catalog.pg_stat_get_tuples_deleted(p.oid) + pg_catalog.pg_stat_get_tuples_updated(p.oid) > 0
  AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_index x
    WHERE x.indrelid = k.conrelid AND x.indisvalid
      AND (x.indpred IS NULL OR pg_catalog.pg_get_expr(x.indpred, x.indrelid) ~ 'IS NOT NULL\)?$')
      AND (x.indkey::int2[])[0:cardinality(k.conkey) - 1] @> k.conkey)
ORDER BY 2 DESC, 1
