-- The size of the database and of its 50 largest tables; of the server its version, its WAL position, and the
-- age of its oldest transaction or multixact id.
SELECT 'database_bytes' AS name, '' AS schema, '' AS relation,
       pg_catalog.pg_database_size(current_database()) AS value
UNION ALL
SELECT 'server_version', '', '', current_setting('server_version_num')::bigint
UNION ALL
SELECT 'wal_position', '', '', (pg_catalog.pg_current_wal_lsn() - '0/0')::bigint
UNION ALL
SELECT 'ids_used', '', '',
       max(greatest(pg_catalog.age(datfrozenxid), pg_catalog.mxid_age(datminmxid)))::bigint
FROM pg_catalog.pg_database
UNION ALL
SELECT 'table_bytes', nspname, relname, pg_catalog.pg_total_relation_size(oid)
FROM (SELECT c.oid, n.nspname, c.relname FROM pg_catalog.pg_class c
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't'
        AND c.oid NOT IN (SELECT relation FROM pg_catalog.pg_locks
                          WHERE mode = 'AccessExclusiveLock' AND relation IS NOT NULL)
        AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'sereno')
      ORDER BY c.relpages DESC, c.oid LIMIT 50) largest
