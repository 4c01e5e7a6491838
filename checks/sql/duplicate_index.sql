-- title  = "An index duplicates another one"
-- option.bytes = { default = 1048576, help = "smaller duplicates are ignored" }
-- summary = "same definition as {twin}; {size} maintained by every write"
-- remedy = "DROP INDEX CONCURRENTLY {object}; ({twin} serves the same queries)"
-- es.title = "Un índice duplica a otro"
-- es.summary = "misma definición que {twin}; {size} que mantiene cada escritura"
-- es.remedy = "DROP INDEX CONCURRENTLY {object}; ({twin} sirve las mismas consultas)"
-- source = "pg_index: the same columns, operator classes and their parameters, collations, order, expressions and predicate; a unique index is only covered by one that refuses at least as much"
WITH candidate AS (
  SELECT indrelid, indkey::text AS columns
  FROM pg_catalog.pg_index
  WHERE indisvalid
  GROUP BY 1, 2 HAVING count(*) > 1
), index AS (
  SELECT x.indexrelid, x.indrelid, x.indisunique, x.indimmediate, n.nspname, i.relname,
         coalesce((to_jsonb(x)->>'indnullsnotdistinct')::bool, false) AS one_null, -- from 15 on
         EXISTS (SELECT FROM pg_catalog.pg_constraint c
                 WHERE c.conindid = x.indexrelid AND c.contype IN ('p', 'u', 'x', 'f'))
           OR x.indisreplident OR x.indisclustered AS needed,
         concat_ws('|', i.relam, x.indnkeyatts, x.indkey, x.indclass, x.indcollation, x.indoption,
                   (SELECT string_agg(coalesce(a.attoptions::text, '-'), ',' ORDER BY a.attnum)
                    FROM pg_catalog.pg_attribute a WHERE a.attrelid = x.indexrelid),
                   coalesce(pg_catalog.pg_get_expr(x.indexprs, x.indrelid), '-'),
                   coalesce(pg_catalog.pg_get_expr(x.indpred, x.indrelid), '-')) AS definition
  FROM candidate
  JOIN pg_catalog.pg_index x ON x.indrelid = candidate.indrelid AND x.indkey::text = candidate.columns
  JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid AND i.relkind = 'i' AND NOT i.relispartition
  JOIN pg_catalog.pg_namespace n ON n.oid = i.relnamespace
  WHERE x.indisvalid AND n.nspname NOT IN ('pg_catalog', 'pg_toast') AND n.nspname !~ '^pg_temp_'
), pair AS (
  SELECT x.indexrelid, x.nspname, x.relname, k.indexrelid AS kept, k.needed,
         format('%I.%I', k.nspname, k.relname) AS twin,
         NOT x.indisunique OR k.indisunique AND (k.one_null OR NOT x.one_null)
           AND (k.indimmediate OR NOT x.indimmediate) AS covers,
         NOT k.indisunique OR x.indisunique AND (x.one_null OR NOT k.one_null)
           AND (x.indimmediate OR NOT k.indimmediate) AS covered
  FROM index x
  JOIN index k ON k.indrelid = x.indrelid AND k.definition = x.definition AND k.indexrelid <> x.indexrelid
  WHERE NOT x.needed
), duplicate AS (
  SELECT DISTINCT ON (indexrelid) indexrelid, nspname, relname, twin
  FROM pair
  WHERE covers AND (needed OR NOT covered OR kept < indexrelid)
  ORDER BY indexrelid, needed DESC, covered, kept
)
SELECT format('%I.%I', nspname, relname) AS object,
       bytes AS value,
       'warning' AS severity,
       pg_catalog.pg_size_pretty(bytes) AS size,
       twin
FROM duplicate, pg_catalog.pg_relation_size(indexrelid) AS bytes
WHERE bytes >= :bytes
ORDER BY 2 DESC, 1
