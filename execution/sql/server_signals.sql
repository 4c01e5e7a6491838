-- The signals that throttle every run in this server; texts are empty where there is nothing.
SELECT coalesce((SELECT max(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn))
                 FROM pg_catalog.pg_replication_slots), 0)::bigint AS slot_bytes,
       current_setting('archive_mode') <> 'off' AS archives,
       has_function_privilege('pg_catalog.pg_ls_archive_statusdir()', 'EXECUTE') AS sees_archive,
       (SELECT count(*) FROM pg_catalog.pg_stat_activity
        WHERE state = 'active' AND backend_type = 'client backend'
          AND application_name NOT LIKE 'sereno/%')::int AS active,
       coalesce((SELECT format('base backup, pid %s', pid)
                 FROM pg_catalog.pg_stat_progress_basebackup LIMIT 1), '') AS backup,
       -- the databases in which there is more to read: database_signals.sql
       ARRAY(SELECT datid::bigint FROM pg_catalog.pg_stat_activity
             WHERE application_name = 'pg_dump' AND datid IS NOT NULL
             UNION
             SELECT database::bigint FROM pg_catalog.pg_locks
             WHERE locktype = 'advisory' AND granted
               AND classid = {lock_class} AND objid = {changes}) AS occupied,
       CASE WHEN coalesce(host(inet_server_addr()), '127.0.0.1') IN ('127.0.0.1', '::1')
                 AND pg_has_role('pg_read_all_settings', 'USAGE')
            THEN current_setting('data_directory', true) END AS folder
