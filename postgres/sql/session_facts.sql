-- What the server says of itself and of the session when it is opened.
SELECT current_setting('server_version_num')::int AS version,
       (SELECT system_identifier::text FROM pg_control_system()) AS system_identifier,
       current_database() AS database,
       (SELECT oid::bigint FROM pg_database
        WHERE datname = current_database()) AS database_oid,
       current_user::text AS user,
       pg_backend_pid() AS pid,
       pg_is_in_recovery() AS standby,
       CASE WHEN pg_is_in_recovery() THEN '00000000'
            ELSE left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) END AS timeline,
       current_setting('sereno.session', true) AS nonce
