-- title   = "A standby or a subscriber no longer receives WAL"
-- scope   = "cluster"
-- needs   = ["pg_monitor"]
-- changes = ["gone"]
-- option.days = { default = 7, help = "days for which it is missed" }
-- summary = "{what} (since {since}; it was there for a day or longer)"
-- remedy  = "look at its log and start it; if it was removed on purpose, drop its replication slot"
-- es.title   = "Un servidor en espera o un suscriptor ya no recibe WAL"
-- es.summary = "{what_es} (desde {since}; estuvo un día o más)"
-- es.remedy  = "mirar su registro e iniciarlo; si se retiró a propósito, borrar su ranura de replicación"
-- source  = "pg_stat_replication, by application_name; base backups are left out"
SELECT n.name AS object, count(*) AS value, 'high' AS severity,
       coalesce(string_agg(DISTINCT host(r.client_addr), ', '), 'local') AS state
FROM pg_catalog.pg_stat_replication r
-- several standbys may have the default name: their addresses tell them apart
CROSS JOIN LATERAL (
  SELECT quote_ident(r.application_name)
         || CASE WHEN r.application_name = 'walreceiver' THEN coalesce(' ' || host(r.client_addr), '') ELSE '' END AS name
) n
WHERE r.state IS DISTINCT FROM 'backup' AND r.application_name <> ''
GROUP BY n.name
ORDER BY 1
