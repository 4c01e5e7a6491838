-- title  = "A prepared transaction is old"
-- scope  = "cluster"
-- option.warning = { default = 900, help = "seconds since it was prepared" }
-- option.high    = { default = 3600, help = "seconds since it was prepared" }
-- remedy = "in database {database}: COMMIT PREPARED {object}; or ROLLBACK PREPARED {object};"
-- source = "PostgreSQL manual, PREPARE TRANSACTION, Caution; pg_prepared_xacts"
SELECT quote_literal(gid) AS object,
       round(extract(epoch FROM now() - prepared))::float8 AS value,
       format('prepared by %s in %s at %s: it holds its locks and the xmin horizon', quote_ident(owner),
              quote_ident(database), to_char(prepared, 'YYYY-MM-DD HH24:MI TZ')) AS summary,
       quote_ident(database) AS database
FROM pg_catalog.pg_prepared_xacts
WHERE prepared <= now() - make_interval(secs => least(:warning, :high))
ORDER BY 2 DESC, 1
