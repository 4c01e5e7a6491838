-- The foreign keys that refer to the tables, their partitions or the tables they are partitions of.
SELECT k.oid::bigint AS key,
       n.nspname::text AS schema, c.relname::text AS name,
       m.nspname::text AS to_schema, p.relname::text AS to_name,
       k.confdeltype IN ('c', 'n', 'd') AS cascades,
       (SELECT bool_and(o.oprname = '=' AND o.oprnamespace = 'pg_catalog'::regnamespace)
        FROM unnest(k.conpfeqop) u (operator)
        JOIN pg_catalog.pg_operator o ON o.oid = u.operator) AS plain,
       ARRAY(SELECT ARRAY[a.attname::text, b.attname::text]
             FROM unnest(k.conkey, k.confkey) WITH ORDINALITY u (child, parent, place)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.child
             JOIN pg_catalog.pg_attribute b ON b.attrelid = k.confrelid AND b.attnum = u.parent
             ORDER BY u.place) AS pairs
FROM pg_catalog.pg_constraint k
JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_class p ON p.oid = k.confrelid
JOIN pg_catalog.pg_namespace m ON m.oid = p.relnamespace
WHERE k.contype = 'f'
  AND k.conparentid = 0
  AND k.confrelid IN (
    SELECT l.relid
    FROM (SELECT z.oid FROM pg_catalog.pg_class z
          JOIN pg_catalog.pg_namespace y ON y.oid = z.relnamespace
          WHERE (y.nspname::text, z.relname::text)
                IN (SELECT * FROM unnest(%s::text[], %s::text[]))) t
    CROSS JOIN LATERAL (
      SELECT t.oid AS relid
      UNION SELECT relid FROM pg_catalog.pg_partition_tree(t.oid)
      UNION SELECT relid FROM pg_catalog.pg_partition_ancestors(t.oid)) l)
ORDER BY k.oid
