-- title   = "A table's transaction IDs are older than autovacuum allows"
-- summary = "age {age}, over its limit of {limit} ({ids} ids): VACUUM has not frozen it"
-- remedy  = "VACUUM (FREEZE, INDEX_CLEANUP OFF) {table}; if the age stays: look at xmin_horizon first"
-- es.title   = "Los identificadores de transacción de una tabla superan lo que permite autovacuum"
-- es.summary = "edad {age}, sobre su límite de {limit} (identificadores: {ids}): VACUUM no la ha congelado"
-- es.remedy  = "VACUUM (FREEZE, INDEX_CLEANUP OFF) {table}; si la edad sigue: mirar primero xmin_horizon"
-- option.warning = { default = 1.1, help = "age as a multiple of the freeze_max_age in force" }
-- option.high    = { default = 2.0, help = "age as a multiple of the freeze_max_age in force" }
-- source  = "PostgreSQL manual, 25.1.5; TOAST tables by the name of their table"
SELECT format('%I.%I', n.nspname, c.relname) AS object, round(times::numeric, 4)::float8 AS value,
       age, round(age / times)::bigint AS "limit", ids,
       format('%I.%I', coalesce(mn.nspname, n.nspname), coalesce(main.relname, c.relname)) AS "table"
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN (pg_catalog.pg_class main JOIN pg_catalog.pg_namespace mn ON mn.oid = main.relnamespace)
  ON main.reltoastrelid = c.oid
CROSS JOIN LATERAL (
  SELECT max(option_value::float8) FILTER (WHERE option_name = 'autovacuum_freeze_max_age') AS freeze,
         max(option_value::float8) FILTER (WHERE option_name = 'autovacuum_multixact_freeze_max_age') AS multixact
  FROM pg_catalog.pg_options_to_table(coalesce(c.reloptions, main.reloptions))
) own
-- autovacuum takes the smaller one
CROSS JOIN LATERAL (
  SELECT current_setting('autovacuum_freeze_max_age')::float8 AS freeze,
         current_setting('autovacuum_multixact_freeze_max_age')::float8 AS multixact
) server
CROSS JOIN LATERAL (
  SELECT age, ids, age / "limit" AS times FROM (VALUES
    (age(c.relfrozenxid), 'transaction', least(own.freeze, server.freeze)),
    (mxid_age(c.relminmxid), 'multixact', least(own.multixact, server.multixact))
  ) AS one (age, ids, "limit")
  ORDER BY times DESC LIMIT 1
) oldest
WHERE c.relkind IN ('r', 'm', 't') AND c.relfrozenxid <> '0'::xid AND c.relpersistence <> 't'
  AND times >= least(:warning, :high)
ORDER BY 2 DESC, 1
