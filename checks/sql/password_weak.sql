-- title   = "A password is stored weakly, or has ended"
-- scope   = "cluster"
-- summary = "{why}"
-- remedy  = "{cure}"
-- es.title   = "Una contraseña está guardada con un método débil, o ha vencido"
-- es.summary = "{why_es}"
-- es.remedy  = "{cure}"
-- option.days = { default = 7, help = "days before the end of a password" }
-- source  = "PostgreSQL manual, 20.5 Password Authentication; the hash itself is never read out"
SELECT quote_ident(r.rolname) AS object, 1 AS value, one.severity, one.why, one.why_es, one.cure
FROM pg_catalog.pg_authid r
CROSS JOIN LATERAL (
  SELECT 'warning' AS severity, 'its password is stored as md5' AS why, 'su contraseña está guardada como md5' AS why_es,
         format('SET password_encryption = ''scram-sha-256''; \password %I', r.rolname) AS cure
  WHERE r.rolpassword LIKE 'md5%'
  UNION ALL
  SELECT CASE WHEN r.rolvaliduntil < now() THEN 'info' ELSE 'warning' END,
         'its password ends at ' || r.rolvaliduntil, 'su contraseña vence el ' || r.rolvaliduntil,
         format('ALTER ROLE %I VALID UNTIL …;', r.rolname)
  WHERE r.rolpassword IS NOT NULL AND r.rolvaliduntil < now() + make_interval(days => :days)
    -- ended long ago on purpose, unless a session still works with it
    AND (r.rolvaliduntil > now() OR EXISTS (SELECT FROM pg_catalog.pg_stat_activity s WHERE s.usesysid = r.oid))
  ORDER BY severity DESC LIMIT 1
) one
WHERE r.rolcanlogin
ORDER BY 1
