-- The partitions with rows of a partitioned table, and their pages as of the last VACUUM or ANALYZE.
SELECT n.nspname AS schema, c.relname AS name, c.relpages::bigint AS pages
FROM pg_catalog.pg_class root
JOIN pg_catalog.pg_namespace rn ON rn.oid = root.relnamespace
CROSS JOIN LATERAL pg_catalog.pg_partition_tree(root.oid) t
JOIN pg_catalog.pg_class c ON c.oid = t.relid AND t.isleaf AND c.relkind = 'r'
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE rn.nspname = %s AND root.relname = %s
ORDER BY 1, 2
