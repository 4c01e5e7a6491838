-- title   = "Two foreign keys say the same"
-- summary = "{constraint} repeats {twin}: each row is checked twice"
-- remedy  = "ALTER TABLE {table} DROP CONSTRAINT {constraint};"
-- es.title   = "Dos claves foráneas dicen lo mismo"
-- es.summary = "{constraint} repite {twin}: cada fila se comprueba dos veces"
-- es.remedy  = "ALTER TABLE {table} DROP CONSTRAINT {constraint};"
-- source  = "pg_constraint: the same columns, parent, match and actions"
SELECT format('%I.%I.%I', n.nspname, c.relname, k.conname) AS object, 1 AS value, 'warning' AS severity,
       quote_ident(k.conname) AS constraint, quote_ident(t.conname) AS twin,
       format('%I.%I', n.nspname, c.relname) AS "table"
FROM pg_catalog.pg_constraint k
JOIN LATERAL (
  SELECT o.conname FROM pg_catalog.pg_constraint o
  WHERE o.contype = 'f' AND o.conrelid = k.conrelid AND o.confrelid = k.confrelid
    AND (o.conkey, o.confkey, o.confmatchtype, o.confupdtype, o.confdeltype, o.condeferrable, o.condeferred)
      = (k.conkey, k.confkey, k.confmatchtype, k.confupdtype, k.confdeltype, k.condeferrable, k.condeferred)
    AND (o.convalidated OR NOT k.convalidated) AND o.oid < k.oid
  ORDER BY o.oid LIMIT 1
) t ON true
JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE k.contype = 'f' AND k.conparentid = 0
ORDER BY 1
