-- title   = "Everybody may create objects in a schema"
-- summary = "PUBLIC may create objects in {object}, which can take the place of others in a search path"
-- remedy  = "REVOKE CREATE ON SCHEMA {object} FROM PUBLIC;"
-- es.title   = "Cualquiera puede crear objetos en un esquema"
-- es.summary = "PUBLIC puede crear objetos en {object}, que pueden suplantar a otros en un search_path"
-- es.remedy  = "REVOKE CREATE ON SCHEMA {object} FROM PUBLIC;"
-- source  = "PostgreSQL manual, 5.10.6; before 15 the schema public has it by default, which is no finding"
SELECT format('%I', n.nspname) AS object, 1 AS value, 'warning' AS severity
FROM pg_catalog.pg_namespace n
CROSS JOIN LATERAL aclexplode(n.nspacl) a
WHERE a.grantee = 0 AND a.privilege_type = 'CREATE'
  AND NOT (n.nspname = 'public' AND current_setting('server_version_num')::int < 150000)
ORDER BY 1
