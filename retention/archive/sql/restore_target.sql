-- The kind of a table that rows are to be restored into, and whether it is the table they came from.
SELECT c.relkind::text AS kind,
       EXISTS (SELECT FROM pg_catalog.pg_class m
               WHERE m.relpersistence <> 'p'
                 AND (m.oid = c.oid
                      OR m.oid IN (SELECT relid FROM pg_catalog.pg_partition_tree(c.oid)))) AS unlogged,
       EXISTS (SELECT FROM pg_catalog.pg_partition_tree(c.oid) t
               JOIN pg_catalog.pg_class m ON m.oid = t.relid
               WHERE m.relkind = 'f') AS foreign,
       EXISTS (SELECT FROM pg_catalog.pg_class s
               JOIN pg_catalog.pg_namespace y ON y.oid = s.relnamespace
               WHERE y.nspname = %s AND s.relname = %s
                 AND (s.oid = c.oid
                      OR s.oid IN (SELECT relid FROM pg_catalog.pg_partition_tree(c.oid))
                      OR c.oid IN (SELECT relid FROM pg_catalog.pg_partition_tree(s.oid))
                      OR EXISTS (SELECT FROM pg_catalog.pg_inherits i
                                 WHERE (i.inhrelid, i.inhparent)
                                       IN ((s.oid, c.oid), (c.oid, s.oid))))) AS itself
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s
