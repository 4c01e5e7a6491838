-- The partitions and inheritance children of a table, with what decides whether they have expired.
SELECT c.oid::bigint AS oid,
       n.nspname::text AS schema,
       c.relname::text AS name,
       c.relkind::text AS kind,
       p.partrelid IS NOT NULL AS declared,
       t.typname::text AS type,
       r.rolname::text AS owner,
       c.oid IS NOT DISTINCT FROM p.partdefid AS other,
       coalesce(p.partstrat = 'r' AND p.partnatts = 1 AND p.partattrs[0] = a.attnum, false) AS ranged,
       substring(pg_get_expr(c.relpartbound, c.oid) FROM ' TO \((.*)\)$') AS upper,
       EXISTS (SELECT FROM pg_catalog.pg_inherits d WHERE d.inhparent = c.oid) AS parent,
       NOT EXISTS (SELECT FROM pg_catalog.pg_attribute f
                   WHERE f.attrelid = c.oid AND f.attnum > 0 AND NOT f.attisdropped
                     AND f.attname NOT IN (SELECT g.attname FROM pg_catalog.pg_attribute g
                                           WHERE g.attrelid = i.inhparent)) AS fits,
       s.bytes::bigint AS bytes,
       s.rows::bigint AS rows
FROM pg_catalog.pg_inherits i
JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_roles r ON r.oid = c.relowner
JOIN pg_catalog.pg_attribute a
  ON a.attrelid = i.inhparent AND a.attname = %(column)s AND NOT a.attisdropped
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_catalog.pg_partitioned_table p ON p.partrelid = i.inhparent
CROSS JOIN LATERAL (
  SELECT sum(pg_total_relation_size(l.oid)) AS bytes, sum(greatest(l.reltuples, 0)) AS rows
  FROM pg_catalog.pg_class l
  WHERE l.oid = c.oid OR l.oid IN (SELECT relid FROM pg_catalog.pg_partition_tree(c.oid))
) s
WHERE i.inhparent = (SELECT k.oid FROM pg_catalog.pg_class k
                     JOIN pg_catalog.pg_namespace m ON m.oid = k.relnamespace
                     WHERE m.nspname = %(schema)s AND k.relname = %(name)s)
  AND NOT i.inhdetachpending
ORDER BY c.oid
