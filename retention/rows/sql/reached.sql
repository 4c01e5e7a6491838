-- The tables that a deletion from the named ones would reach: over foreign keys of any kind and number,
-- partitions and inheritance. A part of other statements.
named (oid) AS (
  SELECT c.oid
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE (n.nspname::text, c.relname::text)
        IN (SELECT * FROM unnest(%(schemas)s::text[], %(names)s::text[]))
), reached (oid) AS (
  SELECT oid FROM named
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
