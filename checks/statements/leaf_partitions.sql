-- The partitions with rows of a partitioned table, their pages as of the last VACUUM or ANALYZE, and
-- whether their rows can be read one by one. pg_partition_tree would lock all of them.
WITH RECURSIVE tree (oid) AS (
  SELECT c.oid FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = %s AND c.relname = %s
  UNION
  SELECT i.inhrelid FROM tree t JOIN pg_catalog.pg_inherits i ON i.inhparent = t.oid
)
SELECT n.nspname AS schema, c.relname AS name, c.relpages::bigint AS pages,
       c.relkind = 'r' AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
         AND NOT pg_catalog.row_security_active(c.oid) AS readable
FROM tree t
JOIN pg_catalog.pg_class c ON c.oid = t.oid AND c.relkind <> 'p'
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
ORDER BY 1, 2
