-- The tables of other owners that a deletion would reach: through foreign keys of any kind, over any
-- number of tables, and through partitions and inheritance. The server runs their code then.
WITH RECURSIVE reached (oid) AS (
  SELECT c.oid
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE (n.nspname::text, c.relname::text)
        IN (SELECT * FROM unnest(%(schemas)s::text[], %(names)s::text[]))
  UNION
  SELECT next.oid
  FROM reached r
  CROSS JOIN LATERAL (
    SELECT inhrelid AS oid FROM pg_catalog.pg_inherits WHERE inhparent = r.oid
    UNION ALL
    SELECT inhparent FROM pg_catalog.pg_inherits WHERE inhrelid = r.oid
    UNION ALL
    SELECT conrelid FROM pg_catalog.pg_constraint WHERE contype = 'f' AND confrelid = r.oid) next
)
SELECT n.nspname::text AS schema, c.relname::text AS name, o.rolname::text AS owner
FROM reached r
JOIN pg_catalog.pg_class c ON c.oid = r.oid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_roles o ON o.oid = c.relowner
WHERE o.rolname::text <> ALL (%(owners)s)
ORDER BY 1, 2
