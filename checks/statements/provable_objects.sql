-- The indexes and tables that amcheck can verify: B-tree and GIN indexes that are valid, and heaps,
-- TOAST tables and catalogs too. Temporary ones of other sessions cannot be read. Sizes come from
-- the last VACUUM or ANALYZE: the exact size of every file would cost more than the plan.
SELECT c.oid, 'heap' AS kind, n.nspname AS schema, c.relname AS name,
       coalesce(pg_catalog.pg_relation_filenode(c.oid), 0)::bigint AS filenode,
       c.relpages::bigint AS pages, greatest(c.reltuples, 0)::float8 AS heap_rows, false AS is_unique
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_am a ON a.oid = c.relam AND a.amname = 'heap'
WHERE c.relkind IN ('r', 'm', 't') AND c.relpersistence <> 't'
UNION ALL
SELECT i.oid, a.amname, n.nspname, i.relname,
       coalesce(pg_catalog.pg_relation_filenode(i.oid), 0)::bigint,
       i.relpages::bigint, greatest(t.reltuples, 0)::float8, x.indisunique
FROM pg_catalog.pg_index x
JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
JOIN pg_catalog.pg_class t ON t.oid = x.indrelid
JOIN pg_catalog.pg_namespace n ON n.oid = i.relnamespace
JOIN pg_catalog.pg_am a ON a.oid = i.relam
WHERE a.amname IN ('btree', 'gin') AND i.relkind = 'i' AND i.relpersistence <> 't'
  AND x.indisvalid AND x.indisready AND x.indislive
