-- title  = "Transaction IDs are nearly exhausted"
-- scope  = "cluster"
-- option.warning  = { default = 0.25, help = "share of the 2^31 transaction or multixact ids used" }
-- option.high     = { default = 0.45, help = "share of the 2^31 transaction or multixact ids used" }
-- option.critical = { default = 0.70, help = "share of the 2^31 transaction or multixact ids used" }
-- summary = "{percent} % of the {ids} ids used (age {age})"
-- remedy = "in database {object}: VACUUM (FREEZE) of its oldest tables; end the session, slot or transaction that holds the xmin horizon back"
-- es.title = "Los identificadores de transacción están por agotarse"
-- es.summary = "{percent} % de los identificadores ({ids}) usados (edad {age})"
-- es.remedy = "en la base {object}: VACUUM (FREEZE) de sus tablas más antiguas; terminar la sesión, ranura o transacción que retiene el horizonte xmin"
-- source = "PostgreSQL manual, 25.1.5 Preventing Transaction ID Wraparound Failures"
SELECT format('%I', d.datname) AS object,
       round((u.used / 2147483648.0)::numeric, 4)::float8 AS value,
       round((u.used / 21474836.48)::numeric, 1) AS percent, u.used AS age,
       u.what AS ids
FROM pg_catalog.pg_database d
CROSS JOIN LATERAL (
  SELECT used, what
  FROM (VALUES (age(d.datfrozenxid), 'transaction'), (mxid_age(d.datminmxid), 'multixact')) AS v (used, what)
  ORDER BY used DESC LIMIT 1
) u
WHERE u.used / 2147483648.0 >= least(:warning, :high, :critical)
ORDER BY 2 DESC, 1
