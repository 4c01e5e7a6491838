-- title  = "A transaction has been open for a long time"
-- scope  = "cluster"
-- option.warning = { default = 3600, help = "seconds since the transaction began" }
-- option.high    = { default = 14400, help = "seconds since the transaction began" }
-- needs  = ["pg_monitor"]
-- summary = "{application} of {user} in {database} is {state}, its transaction open since {since}"
-- remedy = "ask {user}; if it is not needed: {cure}"
-- es.title = "Una transacción lleva mucho tiempo abierta"
-- es.summary = "{application} de {user} en {database} está {state}; su transacción está abierta desde {since}"
-- es.remedy = "preguntar a {user}; si no hace falta: {cure}"
-- source = "PostgreSQL manual, 27.2.3 pg_stat_activity"
SELECT format('pid %s', a.pid) AS object,
       round(extract(epoch FROM now() - a.xact_start))::float8 AS value,
       coalesce(nullif(quote_literal(a.application_name), quote_literal('')), 'a session') AS application,
       quote_ident(a.usename) AS "user", quote_ident(a.datname) AS database, coalesce(a.state, 'busy') AS state,
       to_char(a.xact_start, 'YYYY-MM-DD HH24:MI TZ') AS since, a.pid, a.client_addr::text AS client,
       format('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = %s AND backend_start = %L;',
              a.pid, a.backend_start) AS cure
FROM pg_catalog.pg_stat_activity a
WHERE a.backend_type = 'client backend' AND a.pid <> pg_backend_pid()
  AND a.application_name !~ '^(sereno/|pg_dump$|pg_basebackup$)'
  AND a.xact_start <= now() - make_interval(secs => least(:warning, :high))
ORDER BY 2 DESC
