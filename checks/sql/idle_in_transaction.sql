-- title   = "A session is idle in a transaction"
-- scope   = "cluster"
-- summary = "{application} of {user} in {database} has been {state} since {since}"
-- remedy  = "ask {user}; if it is not needed: {cure}"
-- es.title   = "Una sesión está inactiva dentro de una transacción"
-- es.summary = "{application} de {user} en {database} está {state} desde {since}"
-- es.remedy  = "preguntar a {user}; si no hace falta: {cure}"
-- option.warning = { default = 300, help = "seconds since its last statement" }
-- option.high    = { default = 900, help = "seconds since its last statement" }
-- needs   = ["pg_monitor"]
-- source  = "PostgreSQL manual, 27.2.3 pg_stat_activity; such a session keeps its locks and the xmin horizon"
SELECT format('pid %s', pid) AS object,
       round(extract(epoch FROM now() - state_change))::float8 AS value,
       coalesce(nullif(quote_literal(application_name), quote_literal('')), 'a session') AS application,
       quote_ident(usename) AS "user", quote_ident(datname) AS database, state,
       to_char(state_change, 'YYYY-MM-DD HH24:MI TZ') AS since,
       format('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = %s AND backend_start = %L;',
              pid, backend_start) AS cure
FROM pg_catalog.pg_stat_activity
WHERE backend_type = 'client backend' AND state LIKE 'idle in transaction%' AND pid <> pg_backend_pid()
  AND application_name !~ '^(sereno/|pg_dump$|pg_basebackup$)'
  AND state_change <= now() - make_interval(secs => least(:warning, :high))
ORDER BY 2 DESC
