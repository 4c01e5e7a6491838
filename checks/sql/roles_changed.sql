-- title   = "A role is new, or has other rights"
-- scope   = "cluster"
-- changes = ["new", "changed"]
-- option.days = { default = 7, help = "days for which a change is told" }
-- summary = "{what} (since {since})"
-- remedy  = "if that is not meant: {cure}"
-- es.title   = "Un rol es nuevo o tiene otros derechos"
-- es.summary = "{what_es} (desde {since})"
-- es.remedy  = "si no es intencional: {cure}"
-- source  = "pg_roles, pg_auth_members; a role with rights beyond its tables is a warning, any other an info"
SELECT quote_ident(r.rolname) AS object, 1 AS value,
       CASE WHEN r.rolsuper OR r.rolbypassrls OR r.rolcreaterole OR given.dangerous THEN 'warning' ELSE 'info' END AS severity,
       concat_ws(', ', CASE WHEN r.rolcanlogin THEN 'LOGIN' ELSE 'NOLOGIN' END, CASE WHEN r.rolsuper THEN 'SUPERUSER' END,
                 CASE WHEN r.rolcreaterole THEN 'CREATEROLE' END, CASE WHEN r.rolcreatedb THEN 'CREATEDB' END,
                 CASE WHEN r.rolreplication THEN 'REPLICATION' END, CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' END,
                 'member of ' || given.roles) AS state,
       concat_ws(' ', CASE WHEN r.rolsuper OR r.rolbypassrls OR r.rolcreaterole
            THEN format('ALTER ROLE %I%s%s%s;', r.rolname, CASE WHEN r.rolsuper THEN ' NOSUPERUSER' END,
                        CASE WHEN r.rolbypassrls THEN ' NOBYPASSRLS' END, CASE WHEN r.rolcreaterole THEN ' NOCREATEROLE' END)
            WHEN NOT given.dangerous AND r.rolcanlogin THEN format('ALTER ROLE %I NOLOGIN;', r.rolname)
            WHEN NOT given.dangerous THEN format('DROP ROLE %I;', r.rolname) END, given.revoke) AS cure
FROM pg_catalog.pg_roles r
CROSS JOIN LATERAL (
  SELECT string_agg(DISTINCT quote_ident(g.rolname), ', ') AS roles,
         string_agg(DISTINCT format('REVOKE %I FROM %I;', g.rolname, r.rolname), ' ')
           FILTER (WHERE g.rolsuper OR g.rolname IN ('pg_execute_server_program', 'pg_write_server_files',
                          'pg_read_server_files', 'pg_write_all_data')) AS revoke,
         coalesce(bool_or(g.rolsuper OR g.rolname IN ('pg_execute_server_program', 'pg_write_server_files',
                          'pg_read_server_files', 'pg_write_all_data')), false) AS dangerous
  FROM pg_catalog.pg_auth_members m
  JOIN pg_catalog.pg_roles g ON g.oid = m.roleid
  WHERE m.member = r.oid
) given
WHERE r.rolname !~ '^pg_'
ORDER BY 1
