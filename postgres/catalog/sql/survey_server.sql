-- The server as `sereno init` needs to know it; settings only, no table is read.
SELECT current_setting('server_version_num')::int AS version,
       current_setting('server_version') AS version_text,
       pg_catalog.pg_is_in_recovery() AS standby,
       (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) AS superuser,
       current_setting('port')::int AS port,
       current_setting('listen_addresses') AS listen_addresses,
       current_setting('ssl') = 'on' AS ssl,
       current_setting('TimeZone') AS timezone,
       current_setting('logging_collector') = 'on' AS logging_collector,
       -- rows that the login may not see are left out of the view
       (SELECT setting FROM pg_catalog.pg_settings WHERE name = 'log_directory') AS log_directory,
       (SELECT setting FROM pg_catalog.pg_settings WHERE name = 'log_filename') AS log_filename,
       (SELECT setting FROM pg_catalog.pg_settings WHERE name = 'data_directory') AS data_directory,
       pg_catalog.host(pg_catalog.inet_client_addr()) AS client_address
