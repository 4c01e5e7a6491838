-- title   = "Few connections are left"
-- scope   = "cluster"
-- summary = "{used} of {most} connections are used; most by {user} ({held})"
-- remedy  = "end sessions that are not needed, or raise max_connections (restart), or place a pooler before the server"
-- es.title   = "Quedan pocas conexiones"
-- es.summary = "{used} de {most} conexiones en uso; la mayoría de {user} ({held})"
-- es.remedy  = "terminar sesiones que no hagan falta, o subir max_connections (reinicio), o poner un pooler"
-- option.warning  = { default = 0.75, help = "share of the connections for ordinary roles" }
-- option.high     = { default = 0.90, help = "share of the connections for ordinary roles" }
-- option.critical = { default = 0.95, help = "share of the connections for ordinary roles" }
-- needs   = ["pg_monitor"]
-- source  = "PostgreSQL manual, 19.3.1"
WITH session AS (
  SELECT usename, count(*) AS held FROM pg_catalog.pg_stat_activity
  WHERE backend_type = 'client backend' GROUP BY 1
), room AS (
  SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
         - coalesce(current_setting('reserved_connections', true), '0')::int AS most, -- from 16 on
         (SELECT sum(held) FROM session)::int AS used
)
SELECT 'max_connections' AS object,
       round(used::numeric / most, 4)::float8 AS value,
       used, most, quote_ident(top.usename) AS "user", top.held
FROM room CROSS JOIN LATERAL (SELECT usename, held FROM session ORDER BY held DESC, usename LIMIT 1) AS top
WHERE used::numeric / most >= least(:warning, :high, :critical)
