-- title   = "Everybody may change a table"
-- summary = "PUBLIC has {rights} on it"
-- remedy  = "REVOKE {rights} ON {object} FROM PUBLIC;"
-- es.title   = "Cualquiera puede modificar una tabla"
-- es.summary = "PUBLIC tiene {rights} sobre ella"
-- es.remedy  = "REVOKE {rights} ON {object} FROM PUBLIC;"
-- source  = "PostgreSQL manual, 5.8; pg_class.relacl"
SELECT format('%I.%I', n.nspname, c.relname) AS object, count(*) AS value, 'warning' AS severity,
       string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type) AS rights
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL aclexplode(c.relacl) a
WHERE c.relkind IN ('r', 'p') AND a.grantee = 0
  AND a.privilege_type IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')
  AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_temp_'
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                  WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
GROUP BY n.nspname, c.relname
ORDER BY 1
