-- The tables of other owners that a row put into the tables would reach: those that their foreign keys
-- refer to, with their partitions. The server looks into them.
WITH RECURSIVE own (oid) AS (
  SELECT c.oid
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE (n.nspname::text, c.relname::text)
        IN (SELECT * FROM unnest(%(schemas)s::text[], %(names)s::text[]))
  UNION
  SELECT i.inhrelid FROM own o JOIN pg_catalog.pg_inherits i ON i.inhparent = o.oid
), reached (oid) AS (
  SELECT oid FROM own
  UNION
  SELECT k.confrelid
  FROM own o
  JOIN pg_catalog.pg_constraint k ON k.conrelid = o.oid AND k.contype = 'f'
), whole (oid) AS (
  SELECT oid FROM reached
  UNION
  SELECT i.inhrelid FROM whole w JOIN pg_catalog.pg_inherits i ON i.inhparent = w.oid
)
SELECT n.nspname::text AS schema, c.relname::text AS name, o.rolname::text AS owner
FROM whole w
JOIN pg_catalog.pg_class c ON c.oid = w.oid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_roles o ON o.oid = c.relowner
WHERE o.rolname::text <> ALL (%(owners)s)
ORDER BY 1, 2
