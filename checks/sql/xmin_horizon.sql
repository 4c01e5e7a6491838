-- title  = "The xmin horizon is held back: VACUUM cannot remove dead rows"
-- scope  = "cluster"
-- option.warning  = { default = 0.10, help = "age of the oldest xmin, as a share of autovacuum_freeze_max_age" }
-- option.high     = { default = 0.50, help = "age of the oldest xmin, as a share of autovacuum_freeze_max_age" }
-- option.critical = { default = 0.80, help = "age of the oldest xmin, as a share of autovacuum_freeze_max_age" }
-- needs  = ["pg_monitor"]
-- summary = "{who} holds back rows dead for {age} transactions"
-- remedy = "{cure}"
-- es.title = "El horizonte xmin está retenido: VACUUM no puede quitar filas muertas"
-- es.summary = "{object} retiene filas muertas desde hace {age} transacciones"
-- es.remedy = "{cure}"
-- source = "PostgreSQL manual, 25.1.5; the holders are sessions, prepared transactions, replication slots and standbys"
WITH holder AS (
  SELECT format('pid %s', pid) AS object, greatest(age(backend_xmin), age(backend_xid)) AS age,
         format('session %s of %s in %s, %s since %s', pid, quote_ident(usename), quote_ident(datname),
                coalesce(state, 'busy'), to_char(coalesce(xact_start, backend_start), 'YYYY-MM-DD HH24:MI TZ')) AS who,
         format('SELECT pg_terminate_backend(%s); if the session is not needed', pid) AS cure
  FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
  UNION ALL
  SELECT format('prepared transaction %L', gid), age(transaction),
         format('prepared transaction %L of %s in %s', gid, quote_ident(owner), quote_ident(database)),
         format('COMMIT PREPARED %L; or ROLLBACK PREPARED %L; in %s', gid, gid, quote_ident(database))
  FROM pg_catalog.pg_prepared_xacts
  UNION ALL
  SELECT format('slot %I', slot_name), greatest(age(xmin), age(catalog_xmin)),
         format('replication slot %I (%s, %s)', slot_name, slot_type, CASE WHEN active THEN 'active' ELSE 'inactive' END),
         format('restart its consumer, or SELECT pg_drop_replication_slot(%L);', slot_name)
  FROM pg_catalog.pg_replication_slots
  UNION ALL
  SELECT format('standby %s', quote_ident(application_name)), age(backend_xmin),
         format('a query on the standby %s (hot_standby_feedback)', quote_ident(application_name)),
         'end the long query on that standby'
  FROM pg_catalog.pg_stat_replication
)
SELECT object,
       round(age / current_setting('autovacuum_freeze_max_age')::numeric, 9)::float8 AS value,
       who, age,
       cure
FROM holder
WHERE age / current_setting('autovacuum_freeze_max_age')::numeric >= least(:warning, :high, :critical)
ORDER BY 2 DESC NULLS LAST, 1
