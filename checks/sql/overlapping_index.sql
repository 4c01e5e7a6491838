-- title   = "An index is the beginning of another one"
-- summary = "{twin} begins with the same columns; {size} maintained by every write"
-- remedy  = "DROP INDEX CONCURRENTLY {object}; ({twin} serves its queries, though it is larger)"
-- es.title   = "Un índice es el comienzo de otro"
-- es.summary = "{twin} empieza con las mismas columnas; {size} que mantiene cada escritura"
-- es.remedy  = "DROP INDEX CONCURRENTLY {object}; ({twin} sirve sus consultas, aunque es mayor)"
-- option.bytes = { default = 10485760, help = "smaller indexes are ignored" }
-- option.warning_bytes = { default = 104857600, help = "warning from this size on, else info" }
-- source  = "pg_index: B-trees of the same table, without expressions, of the same operator classes, collations and order"
WITH btree AS (
  SELECT x.indexrelid, x.indrelid, x.indisunique, x.indnkeyatts, x.indnatts, n.nspname, i.relname, i.relpages,
         x.indkey::int2[] AS keys, x.indclass::oid[] AS classes, x.indcollation::oid[] AS collations, x.indoption::int2[] AS options,
         pg_catalog.pg_get_expr(x.indpred, x.indrelid) AS predicate,
         EXISTS (SELECT FROM pg_catalog.pg_constraint c WHERE c.conindid = x.indexrelid) OR x.indisreplident OR x.indisclustered AS needed
  FROM pg_catalog.pg_index x
  JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid AND i.relkind = 'i' AND NOT i.relispartition
  JOIN pg_catalog.pg_am m ON m.oid = i.relam AND m.amname = 'btree'
  JOIN pg_catalog.pg_namespace n ON n.oid = i.relnamespace
  WHERE x.indisvalid AND x.indexprs IS NULL AND n.nspname NOT IN ('pg_catalog', 'pg_toast') AND n.nspname !~ '^pg_temp_'
)
SELECT format('%I.%I', s.nspname, s.relname) AS object, bytes::float8 AS value,
       CASE WHEN bytes >= :warning_bytes THEN 'warning' ELSE 'info' END AS severity,
       format('%I.%I', l.nspname, l.relname) AS twin, pg_catalog.pg_size_pretty(bytes) AS size
FROM btree s
CROSS JOIN LATERAL (
  SELECT * FROM btree l
  WHERE l.indrelid = s.indrelid AND l.indnkeyatts > s.indnkeyatts
    AND l.keys[0:s.indnkeyatts - 1] = s.keys[0:s.indnkeyatts - 1]
    AND l.classes[0:s.indnkeyatts - 1] = s.classes[0:s.indnkeyatts - 1]
    AND l.collations[0:s.indnkeyatts - 1] = s.collations[0:s.indnkeyatts - 1]
    AND l.options[0:s.indnkeyatts - 1] = s.options[0:s.indnkeyatts - 1]
    AND l.predicate IS NOT DISTINCT FROM s.predicate
  ORDER BY l.indnkeyatts, l.indexrelid LIMIT 1
) l
CROSS JOIN LATERAL (SELECT pg_catalog.pg_relation_size(s.indexrelid) AS bytes) size
WHERE NOT s.indisunique AND NOT s.needed AND s.indnatts = s.indnkeyatts
  AND s.relpages >= :bytes / 8192 AND bytes >= :bytes
ORDER BY 2 DESC, 1
