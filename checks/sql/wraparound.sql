-- title  = "Transaction IDs are nearly exhausted"
-- scope  = "cluster"
-- option.warning  = { default = 0.25, help = "share of the 2^31 transaction or multixact ids used" }
-- option.high     = { default = 0.45, help = "share of the 2^31 transaction or multixact ids used" }
-- option.critical = { default = 0.70, help = "share of the 2^31 transaction or multixact ids used" }
-- option.days_warning  = { default = 60, help = "days left at the pace of the last week, beyond autovacuum's own limit" }
-- option.days_high     = { default = 21, help = "days left" }
-- option.days_critical = { default = 7, help = "days left" }
-- forecast = true
-- summary = "{percent} % of the {ids} ids used (age {age}){days_left}"
-- remedy = "in database {object}: VACUUM (FREEZE) of its oldest tables; end the session, slot or transaction that holds the xmin horizon back"
-- es.title = "Los identificadores de transacción están por agotarse"
-- es.summary = "{percent} % de los identificadores ({ids}) usados (edad {age}){days_left_es}"
-- es.remedy = "en la base {object}: VACUUM (FREEZE) de sus tablas más antiguas; terminar la sesión, ranura o transacción que retiene el horizonte xmin"
-- source = "PostgreSQL manual, 25.1.5 Preventing Transaction ID Wraparound Failures"
SELECT format('%I', d.datname) AS object,
       round((u.used / 2147483648.0)::numeric, 4)::float8 AS value,
       round((u.used / 21474836.48)::numeric, 1) AS percent, u.used AS age,
       u.what AS ids, 2147483648 AS "limit",
       -- below its own limit autovacuum has not begun, and the age says nothing about the future
       CASE WHEN u.used > 1.1 * u.own_limit THEN u.used END AS level
FROM pg_catalog.pg_database d
CROSS JOIN LATERAL (
  SELECT used, what, own_limit
  FROM (VALUES (age(d.datfrozenxid), 'transaction', current_setting('autovacuum_freeze_max_age')::float8),
               (mxid_age(d.datminmxid), 'multixact', current_setting('autovacuum_multixact_freeze_max_age')::float8)
       ) AS v (used, what, own_limit)
  ORDER BY used > 1.1 * own_limit DESC, used DESC LIMIT 1
) u
WHERE u.used / 2147483648.0 >= least(:warning, :high, :critical) OR u.used > 1.1 * u.own_limit
ORDER BY 2 DESC, 1
