-- title   = "Few connections are left"
-- scope   = "cluster"
-- summary = "{used} of {most} connections are used; most by {user} ({held})"
-- remedy  = "end sessions that are not needed, or {cure}"
-- es.title   = "Quedan pocas conexiones"
-- es.summary = "{used} de {most} conexiones en uso; la mayoría de {user} ({held})"
-- es.remedy  = "terminar sesiones que no hagan falta, o {cure_es}"
-- option.warning  = { default = 0.75, help = "share of the connections for ordinary roles, or of a CONNECTION LIMIT" }
-- option.high     = { default = 0.90, help = "share of the connections for ordinary roles, or of a CONNECTION LIMIT" }
-- option.critical = { default = 0.95, help = "share of the connections for ordinary roles, or of a CONNECTION LIMIT" }
-- needs   = ["pg_monitor"]
-- source  = "PostgreSQL manual, 19.3.1"
WITH session AS (
  SELECT usename, datname, count(*)::int AS held FROM pg_catalog.pg_stat_activity
  WHERE backend_type = 'client backend' GROUP BY 1, 2
), room (object, most, used, cure, cure_es) AS (
  SELECT 'max_connections',
         current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
           - coalesce(current_setting('reserved_connections', true), '0')::int, -- from 16 on
         (SELECT sum(held) FROM session)::int,
         'raise max_connections (restart), or place a pooler before the server',
         'subir max_connections (reinicio), o poner un pooler'
  UNION ALL
  -- smaller limits are meant: a job that runs once at a time
  SELECT format('role %I', r.rolname), r.rolconnlimit, sum(s.held)::int,
         format('ALTER ROLE %I CONNECTION LIMIT …;', r.rolname), format('ALTER ROLE %I CONNECTION LIMIT …;', r.rolname)
  FROM pg_catalog.pg_roles r JOIN session s ON s.usename = r.rolname
  WHERE r.rolconnlimit >= 10 AND NOT r.rolsuper GROUP BY r.rolname, r.rolconnlimit
  UNION ALL
  SELECT format('database %I', d.datname), d.datconnlimit, sum(s.held)::int,
         format('ALTER DATABASE %I CONNECTION LIMIT …;', d.datname), format('ALTER DATABASE %I CONNECTION LIMIT …;', d.datname)
  FROM pg_catalog.pg_database d JOIN session s ON s.datname = d.datname
  WHERE d.datconnlimit >= 10 GROUP BY d.datname, d.datconnlimit
)
SELECT object, round(used::numeric / most, 4)::float8 AS value, used, most, cure, cure_es,
       quote_ident(top.usename) AS "user", top.held
FROM room
CROSS JOIN LATERAL (
  SELECT usename, sum(held)::int AS held FROM session
  WHERE object IN ('max_connections', format('role %I', usename), format('database %I', datname))
  GROUP BY usename ORDER BY 2 DESC, usename LIMIT 1
) AS top
WHERE used::numeric / most >= least(:warning, :high, :critical)
ORDER BY 2 DESC, 1
