-- title   = "A SECURITY DEFINER function has no fixed search_path"
-- summary = "runs as {owner}, and whoever calls it chooses what its names mean"
-- remedy  = "ALTER {kind} {object} SET search_path = pg_catalog, pg_temp; (or with the schemas that it needs, pg_temp last)"
-- es.title   = "Una función SECURITY DEFINER no fija search_path"
-- es.summary = "se ejecuta como {owner}, y quien la llama decide qué significan sus nombres"
-- es.remedy  = "ALTER {kind} {object} SET search_path = pg_catalog, pg_temp; (o con los esquemas que necesite, pg_temp al final)"
-- source  = "PostgreSQL manual, CREATE FUNCTION, Writing SECURITY DEFINER Functions Safely"
SELECT format('%I.%I(%s)', n.nspname, p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid)) AS object,
       1 AS value,
       CASE WHEN o.rolsuper THEN 'high' ELSE 'warning' END AS severity,
       quote_ident(o.rolname) AS owner,
       CASE p.prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END AS kind
FROM pg_catalog.pg_proc p
JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
JOIN pg_catalog.pg_roles o ON o.oid = p.proowner
WHERE p.prosecdef AND p.prosqlbody IS NULL
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'sereno')
  AND NOT EXISTS (SELECT FROM unnest(p.proconfig) AS c WHERE c LIKE 'search_path=%')
  AND EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
              WHERE a.privilege_type = 'EXECUTE' AND a.grantee <> p.proowner)
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                  WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
ORDER BY o.rolsuper DESC, 1
