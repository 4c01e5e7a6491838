-- title  = "A prepared transaction is old"
-- scope  = "cluster"
-- option.warning = { default = 900, help = "seconds since it was prepared" }
-- option.high    = { default = 3600, help = "seconds since it was prepared" }
-- summary = "prepared by {owner} in {database} at {since}: it holds its locks and the xmin horizon"
-- remedy = "in database {database}: COMMIT PREPARED {object}; or ROLLBACK PREPARED {object};"
-- es.title = "Una transacción preparada es antigua"
-- es.summary = "preparada por {owner} en {database} el {since}: retiene sus bloqueos y el horizonte xmin"
-- es.remedy = "en la base {database}: COMMIT PREPARED {object}; o ROLLBACK PREPARED {object};"
-- source = "PostgreSQL manual, PREPARE TRANSACTION, Caution; pg_prepared_xacts"
SELECT quote_literal(gid) AS object,
       round(extract(epoch FROM now() - prepared))::float8 AS value,
       quote_ident(owner) AS owner, quote_ident(database) AS database,
       to_char(prepared, 'YYYY-MM-DD HH24:MI TZ') AS since
FROM pg_catalog.pg_prepared_xacts
WHERE prepared <= now() - make_interval(secs => least(:warning, :high))
ORDER BY 2 DESC, 1
