-- Roles whose password is stored as md5 (%(md5)s lists them), or ends within some days. One that
-- ended long ago on purpose counts only while a session works with it.
SELECT quote_ident(r.rolname) AS object, 1 AS value, one.severity, one.why, one.why_es, one.cure
FROM pg_catalog.pg_roles r
CROSS JOIN LATERAL (
  SELECT 'warning' AS severity, 'its password is stored as md5' AS why,
         'su contraseña está guardada como md5' AS why_es,
         format('SET password_encryption = ''scram-sha-256''; \password %%I', r.rolname) AS cure
  WHERE r.oid = ANY (%(md5)s::oid[])
  UNION ALL
  SELECT CASE WHEN r.rolvaliduntil < now() THEN 'high' ELSE 'warning' END,
         'its password ends at ' || r.rolvaliduntil, 'su contraseña vence el ' || r.rolvaliduntil,
         format('ALTER ROLE %%I VALID UNTIL …;', r.rolname)
  WHERE r.rolvaliduntil < now() + make_interval(days => %(days)s)
    AND (r.rolvaliduntil > now()
         OR EXISTS (SELECT FROM pg_catalog.pg_stat_activity s WHERE s.usesysid = r.oid))
  ORDER BY severity LIMIT 1 -- high before warning
) one
WHERE r.rolcanlogin
ORDER BY 1
