-- title   = "A table with a tenant does not enforce row-level security"
-- option.tenant = { default = "", help = "the column that tells the tenant; by default databases.NAME.tenant" }
-- summary = "{what}"
-- remedy  = "{cure}"
-- es.title   = "Una tabla con inquilino no aplica la seguridad por filas"
-- es.summary = "{what_es}"
-- es.remedy  = "{cure}"
-- source  = "PostgreSQL manual, 5.9 and CREATE POLICY; where no table with the column has a policy, the application separates the tenants: one info"
WITH tenanted AS (
  SELECT c.oid, format('%I.%I', n.nspname, c.relname) AS object, c.relrowsecurity, c.relforcerowsecurity,
         o.rolcanlogin AND NOT o.rolsuper AND NOT o.rolbypassrls AS owner_works,
         EXISTS (SELECT FROM pg_catalog.pg_policy p WHERE p.polrelid = c.oid) AS has_policy
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_roles o ON o.oid = c.relowner
  JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = :tenant AND a.attnum > 0 AND NOT a.attisdropped
  WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
    AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'sereno')
), used AS (
  SELECT coalesce(bool_or(relrowsecurity), false) AS rls, count(*) AS tables FROM tenanted
), faults AS (
  SELECT object, 'warning' AS severity,
         'it has the tenant''s column, and row-level security is off' AS what,
         'tiene la columna del inquilino y la seguridad por filas está desactivada' AS what_es,
         format('CREATE POLICY tenant ON %s …; ALTER TABLE %s ENABLE ROW LEVEL SECURITY;', object, object) AS cure
  FROM tenanted, used WHERE used.rls AND NOT relrowsecurity AND NOT has_policy
  UNION ALL
  SELECT object, 'warning', 'its owner may log in, and its policies do not bind the owner',
         'su propietario puede conectarse, y sus políticas no lo obligan',
         format('ALTER TABLE %s FORCE ROW LEVEL SECURITY;', object)
  FROM tenanted WHERE relrowsecurity AND NOT relforcerowsecurity AND owner_works
  UNION ALL
  -- permissive policies are joined by OR: one that is always true opens the table
  SELECT object || ' (' || quote_ident(p.polname) || ')', 'warning', 'a policy lets every tenant write all rows',
         'una política deja escribir todas las filas a cualquier inquilino',
         format('give the policy %I of %s a condition on the tenant', p.polname, object)
  FROM tenanted t
  JOIN pg_catalog.pg_policy p ON p.polrelid = t.oid AND p.polpermissive AND p.polroles = '{0}'
  CROSS JOIN LATERAL (SELECT pg_catalog.pg_get_expr(p.polqual, p.polrelid) AS rows,
                             pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid) AS new_rows) e
  WHERE t.relrowsecurity
    AND (p.polcmd IN ('*', 'w', 'd') AND e.rows = 'true'
         OR p.polcmd IN ('*', 'a', 'w') AND coalesce(e.new_rows, CASE WHEN p.polcmd <> 'a' THEN e.rows END) = 'true')
    -- a restrictive policy of everybody is joined by AND
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_policy r
                    WHERE r.polrelid = t.oid AND NOT r.polpermissive AND r.polroles = '{0}' AND r.polcmd IN ('*', p.polcmd))
  UNION ALL
  SELECT quote_ident(:tenant), 'info', format('no table with it (%s) has row-level security: only the application separates tenants', tables),
         format('ninguna tabla con ella (%s) usa la seguridad por filas: solo la aplicación separa a los inquilinos', tables), ''
  FROM used WHERE NOT rls AND tables > 0
)
SELECT object, 1 AS value, severity, what, what_es, cure FROM faults ORDER BY 1
