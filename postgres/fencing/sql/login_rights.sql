-- The rights of the login and of every role it is a member of that a trigger could misuse. BYPASSRLS
-- is one only if a table outside the trust domain has row-level policies.
WITH mine AS (
  SELECT o.*
  FROM pg_catalog.pg_roles o
  WHERE pg_catalog.pg_has_role(session_user, o.oid, 'MEMBER')
     OR pg_catalog.pg_has_role(current_user, o.oid, 'MEMBER')
)
SELECT bool_or(rolsuper) AS superuser,
       bool_or(rolcreaterole) AS createrole,
       bool_or(rolreplication) AS replication,
       bool_or(rolbypassrls) AND EXISTS (
         SELECT FROM pg_catalog.pg_class c
         JOIN pg_catalog.pg_roles w ON w.oid = c.relowner
         WHERE c.relrowsecurity AND w.rolname::text <> ALL (%(owners)s)) AS bypassrls,
       array_agg(rolname::text ORDER BY rolname)
         FILTER (WHERE rolname IN (
           'pg_execute_server_program', 'pg_write_server_files', 'pg_read_server_files',
           'pg_read_all_data', 'pg_write_all_data', 'pg_signal_backend', 'pg_maintain', 'rds_superuser',
           'cloudsqlsuperuser', 'azure_pg_admin', 'alloydbsuperuser')) AS powers,
       array_agg(rolname::text ORDER BY rolname)
         FILTER (WHERE EXISTS (SELECT FROM pg_catalog.pg_class c
                               WHERE c.relowner = mine.oid AND c.relkind <> 't')
                    OR EXISTS (SELECT FROM pg_catalog.pg_database d WHERE d.datdba = mine.oid)
                    OR EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE n.nspowner = mine.oid)
                    OR EXISTS (SELECT FROM pg_catalog.pg_proc p WHERE p.proowner = mine.oid)) AS owners
FROM mine
