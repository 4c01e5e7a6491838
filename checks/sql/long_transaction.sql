-- title  = "A transaction has been open for a long time"
-- scope  = "cluster"
-- option.warning = { default = 3600, help = "seconds since the transaction began" }
-- option.high    = { default = 14400, help = "seconds since the transaction began" }
-- needs  = ["pg_monitor"]
-- remedy = "ask {user}; if it is not needed: SELECT pg_terminate_backend({pid});"
-- source = "PostgreSQL manual, 27.2.3 pg_stat_activity"
SELECT format('pid %s', a.pid) AS object,
       round(extract(epoch FROM now() - a.xact_start))::float8 AS value,
       format('%s of %s in %s is %s, its transaction open since %s',
              coalesce(nullif(quote_literal(a.application_name), quote_literal('')), 'a session'), quote_ident(a.usename),
              quote_ident(a.datname), coalesce(a.state, 'busy'), to_char(a.xact_start, 'YYYY-MM-DD HH24:MI TZ')) AS summary,
       a.pid, quote_ident(a.usename) AS "user", a.client_addr::text AS client
FROM pg_catalog.pg_stat_activity a
WHERE a.backend_type = 'client backend' AND a.pid <> pg_backend_pid()
  AND a.application_name !~ '^(sereno/|pg_dump$|pg_basebackup$)'
  AND a.xact_start <= now() - make_interval(secs => least(:warning, :high))
ORDER BY 2 DESC
