-- An index just before its rebuild: its state, its size, what it would wait for, and its folder.
SELECT x.indexrelid::bigint AS oid,
       x.indisvalid AND x.indisready AND x.indislive AS valid,
       x.indrelid::bigint AS table_oid,
       -- relpages of an index that was never built says nothing: half of its table is a safe guess
       greatest(i.relpages, CASE WHEN x.indisvalid THEN 0 ELSE t.relpages / 2 END)
         * current_setting('block_size')::bigint AS bytes,
       (SELECT CASE WHEN l.pid IS NULL THEN 'a prepared transaction'
                    ELSE format('pid %%s (%%s)', l.pid,
                                coalesce(nullif(a.application_name, ''), a.backend_type))
               END || ' has a lock on its table'
        FROM pg_catalog.pg_locks l
        LEFT JOIN pg_catalog.pg_stat_activity a USING (pid)
        WHERE l.relation = x.indrelid AND l.database = d.oid AND l.granted
          AND l.pid IS DISTINCT FROM pg_backend_pid()
          AND (l.pid IS NULL
               OR l.mode NOT IN ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock'))
        LIMIT 1) AS holder,
       (SELECT format('pid %%s (%%s) has had a snapshot of the database for %%s s', pid,
                      coalesce(nullif(application_name, ''), 'no name'),
                      round(extract(epoch FROM clock_timestamp() - xact_start)))
        FROM pg_catalog.pg_stat_activity
        WHERE datname = d.datname AND backend_xmin IS NOT NULL AND pid <> pg_backend_pid()
          AND xact_start < clock_timestamp() - {lasting} * interval '1 s'
          AND pid NOT IN (SELECT pid FROM pg_catalog.pg_stat_progress_vacuum)
        ORDER BY xact_start
        LIMIT 1) AS snapshot,
       CASE WHEN coalesce(host(inet_server_addr()), '127.0.0.1') IN ('127.0.0.1', '::1')
            THEN coalesce(nullif(pg_catalog.pg_tablespace_location(
                                   coalesce(nullif(i.reltablespace, 0), d.dattablespace)), ''),
                          CASE WHEN pg_has_role('pg_read_all_settings', 'USAGE')
                               THEN current_setting('data_directory', true) END,
                          {data_directory}) END AS folder
FROM pg_catalog.pg_index x
JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
JOIN pg_catalog.pg_class t ON t.oid = x.indrelid
JOIN pg_catalog.pg_namespace n ON n.oid = i.relnamespace
CROSS JOIN pg_catalog.pg_database d
WHERE n.nspname = %s AND i.relname = %s AND d.datname = current_database()
