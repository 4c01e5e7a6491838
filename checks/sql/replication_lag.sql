-- title   = "A standby lags behind"
-- scope   = "cluster"
-- needs   = ["pg_monitor"]
-- summary = "{size} of WAL behind ({state}{since})"
-- remedy  = "on {object}: look at its log, disk and network; a session there that conflicts with replay delays it"
-- es.title   = "Un servidor en espera se retrasa"
-- es.summary = "{size} de WAL de retraso ({state}{since})"
-- es.remedy  = "en {object}: mirar su registro, disco y red; una sesión allí que choca con la aplicación la retrasa"
-- option.warning = { default = 104857600, help = "bytes of WAL not yet replayed" }
-- option.high    = { default = 10737418240, help = "bytes of WAL not yet replayed" }
-- source  = "PostgreSQL manual, 27.2.4 pg_stat_replication; a receiver that does not replay counts what it has flushed"
SELECT coalesce(nullif(application_name, ''), 'pid ' || pid) AS object, behind::float8 AS value,
       pg_catalog.pg_size_pretty(behind) AS size, state, coalesce(', ' || date_trunc('second', replay_lag) || ' late', '') AS since
FROM pg_catalog.pg_stat_replication
CROSS JOIN LATERAL (
  SELECT pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), coalesce(replay_lsn, flush_lsn, write_lsn, sent_lsn)) AS behind
  WHERE NOT pg_catalog.pg_is_in_recovery()
) lag
WHERE state IS DISTINCT FROM 'backup' AND behind >= least(:warning, :high)
ORDER BY 2 DESC, 1
