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
       CASE WHEN coalesce(host(inet_server_addr()), '127.0.0.1') IN ('127.0.0.1', '::1')
                 AND pg_has_role('pg_read_all_settings', 'USAGE')
            THEN current_setting('data_directory', true) END AS folder
