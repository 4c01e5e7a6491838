-- The foreign keys that refer to the given tables, and whether the child is referred to itself.
SELECT k.confrelid::bigint AS oid, n.nspname::text AS schema, c.relname::text AS name,
       EXISTS (SELECT FROM pg_catalog.pg_constraint g
               WHERE g.confrelid = c.oid AND g.contype = 'f') AS referenced
FROM pg_catalog.pg_constraint k
JOIN pg_catalog.pg_class c ON c.oid = k.conrelid AND NOT c.relispartition
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE k.contype = 'f' AND k.confrelid = ANY (%s::oid[]) AND k.conparentid = 0
GROUP BY k.confrelid, c.oid, n.nspname, c.relname
ORDER BY 1, 2, 3
