-- The tables that share rows with a table: itself, its partitions, and all partitioned tables above.
-- A table that only inherits keeps its rows: its parent is cleaned and archived with ONLY.
WITH RECURSIVE below (oid) AS (
  SELECT c.oid
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = %(schema)s AND c.relname = %(name)s
  UNION
  SELECT i.inhrelid
  FROM below
  JOIN pg_catalog.pg_inherits i ON i.inhparent = below.oid
  JOIN pg_catalog.pg_partitioned_table p ON p.partrelid = i.inhparent
), above (oid) AS (
  SELECT oid FROM below
  UNION
  SELECT i.inhparent
  FROM above
  JOIN pg_catalog.pg_inherits i ON i.inhrelid = above.oid
  JOIN pg_catalog.pg_partitioned_table p ON p.partrelid = i.inhparent
)
SELECT n.nspname AS schema, c.relname AS name
FROM above
JOIN pg_catalog.pg_class c ON c.oid = above.oid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
