-- The signals of the server that throttle a run; text columns are empty where there is nothing.
SELECT coalesce((SELECT max(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn))
                 FROM pg_catalog.pg_replication_slots), 0)::bigint AS slot_bytes,
       current_setting('archive_mode') <> 'off' AS archives,
       has_function_privilege('pg_catalog.pg_ls_archive_statusdir()', 'EXECUTE') AS sees_archive,
       (SELECT count(*) FROM pg_catalog.pg_stat_activity
        WHERE state = 'active' AND backend_type = 'client backend'
          AND application_name NOT LIKE 'sereno/%')::int AS active,
       coalesce((SELECT format('base backup, pid %s', pid)
                 FROM pg_catalog.pg_stat_progress_basebackup LIMIT 1),
                (SELECT format('pg_dump, pid %s', pid) FROM pg_catalog.pg_stat_activity
                 WHERE application_name = 'pg_dump' AND datname = current_database() LIMIT 1),
                '') AS backup,
       -- any user can take an advisory lock: only a login of sereno counts
       coalesce((SELECT format('a migration, pid %s', l.pid)
                 FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a USING (pid)
                 WHERE l.locktype = 'advisory' AND l.granted
                   AND l.classid = {lock_class} AND l.objid = {changes}
                   AND l.database = (SELECT oid FROM pg_catalog.pg_database
                                     WHERE datname = current_database())
                   AND (a.usename = session_user OR pg_catalog.has_schema_privilege(
                          a.usesysid, to_regnamespace('sereno')::oid, 'USAGE'))
                 LIMIT 1), '') AS migration,
       CASE WHEN coalesce(host(inet_server_addr()), '127.0.0.1') IN ('127.0.0.1', '::1')
                 AND pg_has_role('pg_read_all_settings', 'USAGE')
            THEN current_setting('data_directory', true) END AS folder
