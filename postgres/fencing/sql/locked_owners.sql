-- The owners of the relations that this transaction has locked, and of all that inherits from them.
WITH RECURSIVE locked (oid) AS (
  SELECT l.relation
  FROM pg_catalog.pg_locks l
  WHERE l.pid = pg_catalog.pg_backend_pid() AND l.locktype = 'relation'
    AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = current_database())
  UNION
  SELECT i.inhrelid FROM locked k JOIN pg_catalog.pg_inherits i ON i.inhparent = k.oid
)
SELECT DISTINCT o.rolname::text AS owner
FROM locked k
JOIN pg_catalog.pg_class c ON c.oid = k.oid AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_roles o ON o.oid = c.relowner
WHERE n.nspname NOT IN ('pg_catalog', 'information_schema')
