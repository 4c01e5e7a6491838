-- A digest of the columns of the tables, and of the keys, partitions and owners of all tables that a
-- deletion would reach.
WITH RECURSIVE {reached}
SELECT coalesce(pg_catalog.hashtextextended(string_agg(line, '|' ORDER BY line), 0), 0)::text AS shape
FROM (
  SELECT format('c %%s %%s %%s %%s %%s',
                a.attrelid, a.attnum, a.attname, a.atttypid, a.atttypmod) AS line
  FROM named t
  JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid
  WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
  UNION ALL
  SELECT format('k %%s %%s %%s', k.oid, k.conrelid, k.confdeltype)
  FROM reached r
  JOIN pg_catalog.pg_constraint k ON k.confrelid = r.oid AND k.contype = 'f'
  UNION ALL
  SELECT DISTINCT format('o %%s', c.relowner)
  FROM reached r
  JOIN pg_catalog.pg_class c ON c.oid = r.oid
) s
