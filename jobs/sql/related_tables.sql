-- The tables that share rows with a table: itself, what inherits from it, and all parents of these.
WITH RECURSIVE below (oid) AS (
  SELECT c.oid
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = %(schema)s AND c.relname = %(name)s
  UNION
  SELECT i.inhrelid FROM below JOIN pg_catalog.pg_inherits i ON i.inhparent = below.oid
), above (oid) AS (
  SELECT oid FROM below
  UNION
  SELECT i.inhparent FROM above JOIN pg_catalog.pg_inherits i ON i.inhrelid = above.oid
)
SELECT n.nspname AS schema, c.relname AS name
FROM above
JOIN pg_catalog.pg_class c ON c.oid = above.oid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
