-- A digest of the columns of the tables and of the foreign keys that refer to them.
WITH t AS (
  SELECT c.oid
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE (n.nspname::text, c.relname::text) IN (SELECT * FROM unnest(%s::text[], %s::text[]))
)
SELECT coalesce(pg_catalog.hashtextextended(string_agg(line, '|' ORDER BY line), 0), 0)::text AS shape
FROM (
  SELECT format('c %%s %%s %%s %%s %%s',
                a.attrelid, a.attnum, a.attname, a.atttypid, a.atttypmod) AS line
  FROM t
  JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid
  WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
  UNION ALL
  SELECT format('k %%s %%s %%s', k.oid, k.conrelid, k.confdeltype)
  FROM t
  CROSS JOIN LATERAL (
    SELECT t.oid AS relid
    UNION SELECT relid FROM pg_catalog.pg_partition_tree(t.oid)
    UNION SELECT relid FROM pg_catalog.pg_partition_ancestors(t.oid)) l
  JOIN pg_catalog.pg_constraint k ON k.confrelid = l.relid AND k.contype = 'f'
) s
