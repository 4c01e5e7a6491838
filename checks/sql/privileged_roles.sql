-- title   = "A role may do more than its databases need"
-- scope   = "cluster"
-- summary = "may log in, and {rights}"
-- remedy  = "if that is not meant: {cure}"
-- es.title   = "Un rol puede más de lo que sus bases necesitan"
-- es.summary = "puede conectarse, y además {rights_es}"
-- es.remedy  = "si no es intencional: {cure}"
-- source  = "PostgreSQL manual, 22.2 and 22.5; the superuser of initdb, replication and members of pg_monitor are expected"
SELECT quote_ident(r.rolname) AS object, count(DISTINCT own.word) AS value, 'info' AS severity,
       string_agg(DISTINCT own.word, ', ') AS rights, string_agg(DISTINCT own.word_es, ', ') AS rights_es,
       string_agg(own.cure, ' ' ORDER BY own.word, own.cure) AS cure
FROM pg_catalog.pg_roles r
CROSS JOIN LATERAL (
  SELECT 'is a superuser' AS word, 'es superusuario' AS word_es,
         format('ALTER ROLE %I NOSUPERUSER;', r.rolname) AS cure WHERE r.rolsuper
  UNION ALL
  SELECT 'ignores row security', 'ignora la seguridad por filas',
         format('ALTER ROLE %I NOBYPASSRLS;', r.rolname) WHERE r.rolbypassrls AND NOT r.rolsuper
  UNION ALL
  SELECT 'creates roles', 'crea roles', format('ALTER ROLE %I NOCREATEROLE;', r.rolname) WHERE r.rolcreaterole AND NOT r.rolsuper
  UNION ALL
  -- from 16 on a membership has a row for each role that granted it, and is revoked as that role
  SELECT 'is a member of ' || g.rolname, 'es miembro de ' || g.rolname,
         format('REVOKE %I FROM %I%s;', g.rolname, r.rolname,
                CASE WHEN current_setting('server_version_num')::int >= 160000
                     THEN ' GRANTED BY ' || quote_ident(grantor.rolname) ELSE '' END)
  FROM pg_catalog.pg_auth_members m
  JOIN pg_catalog.pg_roles g ON g.oid = m.roleid
  LEFT JOIN pg_catalog.pg_roles grantor ON grantor.oid = m.grantor
  WHERE m.member = r.oid AND NOT r.rolsuper
    AND g.rolname IN ('pg_execute_server_program', 'pg_write_server_files', 'pg_read_server_files', 'pg_write_all_data')
) own
WHERE r.rolcanlogin AND r.oid <> 10
GROUP BY r.rolname
ORDER BY 1
