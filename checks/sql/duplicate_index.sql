-- title  = "An index duplicates another one"
-- option.bytes = { default = 1048576, help = "smaller duplicates are ignored" }
-- remedy = "DROP INDEX CONCURRENTLY {object}; ({twin} serves the same queries)"
-- source = "pg_index: the same columns, operator classes, collations, order, expressions and predicate"
WITH index AS (
  SELECT x.indexrelid, x.indrelid, x.indisunique, n.nspname, i.relname, pg_catalog.pg_relation_size(i.oid) AS bytes,
         EXISTS (SELECT FROM pg_catalog.pg_constraint c WHERE c.conindid = x.indexrelid AND c.contype IN ('p', 'u', 'x'))
           OR x.indisreplident OR x.indisclustered AS needed,
         concat_ws('|', i.relam, x.indnkeyatts, x.indkey, x.indclass, x.indcollation, x.indoption,
                   coalesce(pg_catalog.pg_get_expr(x.indexprs, x.indrelid), '-'),
                   coalesce(pg_catalog.pg_get_expr(x.indpred, x.indrelid), '-')) AS says
  FROM pg_catalog.pg_index x
  JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid AND i.relkind = 'i' AND NOT i.relispartition
  JOIN pg_catalog.pg_namespace n ON n.oid = i.relnamespace
  WHERE x.indisvalid AND n.nspname NOT IN ('pg_catalog', 'pg_toast') AND n.nspname !~ '^pg_temp_'
), twin AS (
  SELECT *, row_number() OVER same AS place,
         first_value(format('%I.%I', nspname, relname)) OVER same AS twin
  FROM index
  WINDOW same AS (PARTITION BY indrelid, says ORDER BY needed DESC, indisunique DESC, indexrelid)
)
SELECT format('%I.%I', nspname, relname) AS object,
       bytes AS value,
       'warning' AS severity,
       format('same definition as %s; %s maintained by every write', twin, pg_catalog.pg_size_pretty(bytes)) AS summary,
       twin
FROM twin
WHERE place > 1 AND NOT needed AND bytes >= :bytes
ORDER BY 2 DESC, 1
