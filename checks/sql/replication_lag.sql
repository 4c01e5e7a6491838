-- title   = "A standby or a subscriber lags behind"
-- scope   = "cluster"
-- needs   = ["pg_monitor"]
-- summary = "{size} of WAL behind ({state}{since})"
-- remedy  = "on {object}: look at its log, disk and network; a session there that conflicts with replay delays it (if it is delayed on purpose: ignore it)"
-- es.title   = "Un servidor en espera o un suscriptor se retrasa"
-- es.summary = "{size} de WAL de retraso ({state}{since_es})"
-- es.remedy  = "en {object}: mirar su registro, disco y red; una sesión allí que choca con la aplicación la retrasa (si el retraso es intencional: ignorarlo)"
-- option.warning = { default = 104857600, help = "bytes of WAL not yet replayed" }
-- option.high    = { default = 10737418240, help = "bytes of WAL not yet replayed" }
-- source  = "PostgreSQL manual, 27.2.4 pg_stat_replication; a receiver that does not replay counts what it has flushed"
SELECT name || CASE WHEN count(*) OVER (PARTITION BY name) > 1
                    THEN format(' (%s)', coalesce(s.slot_name::text, host(r.client_addr), 'pid ' || r.pid)) ELSE '' END AS object,
       behind::float8 AS value, pg_catalog.pg_size_pretty(behind) AS size, r.state,
       ', ' || date_trunc('second', r.replay_lag) || ' late' AS since,
       ', ' || date_trunc('second', r.replay_lag) || ' tarde' AS since_es
FROM pg_catalog.pg_stat_replication r
LEFT JOIN pg_catalog.pg_replication_slots s ON s.active_pid = r.pid
CROSS JOIN LATERAL (SELECT coalesce(nullif(r.application_name, ''), 'pid ' || r.pid) AS name) n
CROSS JOIN LATERAL (
  SELECT pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), coalesce(r.replay_lsn, r.flush_lsn, r.write_lsn, r.sent_lsn)) AS behind
  WHERE NOT pg_catalog.pg_is_in_recovery()
) lag
WHERE r.state IS DISTINCT FROM 'backup' AND behind >= least(:warning, :high)
ORDER BY 2 DESC, 1
