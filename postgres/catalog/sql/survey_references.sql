-- The foreign keys that refer to the given tables or to one of their partitions: whether the child is
-- referred to itself, whether its rows go with those that they refer to, and whether it has a key.
WITH RECURSIVE member AS (
    SELECT root, root AS oid FROM unnest(%s::oid[]) root
    UNION ALL
    SELECT m.root, i.inhrelid FROM member m JOIN pg_catalog.pg_inherits i ON i.inhparent = m.oid
)
SELECT m.root::bigint AS oid, n.nspname::text AS schema, c.relname::text AS name,
       bool_or(EXISTS (SELECT FROM pg_catalog.pg_constraint g
                       WHERE g.confrelid = c.oid AND g.contype = 'f')) AS referenced,
       bool_and(k.confdeltype = 'c') AS cascades,
       bool_or(EXISTS (SELECT FROM pg_catalog.pg_index i
                       WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid
                         AND i.indpred IS NULL AND i.indexprs IS NULL AND i.indimmediate)) AS keyed
FROM member m
JOIN pg_catalog.pg_constraint k ON k.confrelid = m.oid
JOIN pg_catalog.pg_class c ON c.oid = k.conrelid AND NOT c.relispartition
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE k.contype = 'f'
GROUP BY m.root, c.oid, n.nspname, c.relname
ORDER BY 1, 2, 3
