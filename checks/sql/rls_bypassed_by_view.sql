-- title   = "A view shows rows that row level security hides"
-- summary = "it reads {table} with the rights of {owner}, whom its policies do not bind"
-- remedy  = "{cure} (its readers then need SELECT on {table})"
-- es.title   = "Una vista muestra filas que la seguridad por filas oculta"
-- es.summary = "lee {table} con los derechos de {owner}, a quien sus políticas no obligan"
-- es.remedy  = "{cure} (quienes la leen necesitan entonces SELECT sobre {table})"
-- source  = "PostgreSQL manual, 39.5 and CREATE VIEW; only views that other roles may read"
SELECT format('%I.%I', n.nspname, v.relname) AS object, 1 AS value, 'warning' AS severity,
       string_agg(DISTINCT format('%I.%I', tn.nspname, t.relname), ', ') AS "table", quote_ident(o.rolname) AS owner,
       CASE WHEN v.relkind = 'm' THEN format('REVOKE SELECT ON %I.%I FROM …;', n.nspname, v.relname)
            WHEN current_setting('server_version_num')::int >= 150000
            THEN format('ALTER VIEW %I.%I SET (security_invoker = true);', n.nspname, v.relname)
            ELSE format('ALTER VIEW %I.%I OWNER TO …;', n.nspname, v.relname) END AS cure
FROM pg_catalog.pg_class v
JOIN pg_catalog.pg_namespace n ON n.oid = v.relnamespace
JOIN pg_catalog.pg_roles o ON o.oid = v.relowner
JOIN pg_catalog.pg_rewrite w ON w.ev_class = v.oid
JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = w.oid
 AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid <> v.oid
JOIN pg_catalog.pg_class t ON t.oid = d.refobjid AND t.relkind IN ('r', 'p') AND t.relrowsecurity
JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
WHERE v.relkind IN ('v', 'm')
  AND (o.rolsuper OR o.rolbypassrls OR v.relowner = t.relowner AND NOT t.relforcerowsecurity)
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_options_to_table(v.reloptions)
                  WHERE option_name = 'security_invoker' AND option_value::boolean)
  AND EXISTS (SELECT FROM pg_catalog.aclexplode(v.relacl) g WHERE g.privilege_type = 'SELECT' AND g.grantee <> v.relowner
              -- but sereno's own logins
              AND g.grantee NOT IN (SELECT s.grantee FROM pg_catalog.pg_namespace sn, pg_catalog.aclexplode(sn.nspacl) s
                                    WHERE sn.nspname = 'sereno' AND s.grantee <> 0))
GROUP BY n.nspname, v.relname, v.relkind, o.rolname
ORDER BY 1
