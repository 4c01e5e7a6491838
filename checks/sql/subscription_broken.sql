-- title   = "A subscription does not receive changes"
-- summary = "{what}"
-- remedy  = "ALTER SUBSCRIPTION {object} ENABLE; see the log of the server for the error that disabled it"
-- es.title   = "Una suscripción no recibe cambios"
-- es.summary = "la suscripción {object} no recibe cambios"
-- es.remedy  = "ALTER SUBSCRIPTION {object} ENABLE; el error que la desactivó está en el log del servidor"
-- needs   = ["pg_monitor"]
-- source  = "PostgreSQL manual, 29.7; pg_stat_subscription"
SELECT format('%I', s.subname) AS object, 1 AS value, 'high' AS severity,
       CASE WHEN s.subenabled THEN 'no worker is running' ELSE 'it is disabled' END AS what
FROM (SELECT oid, subname, subdbid, subenabled FROM pg_catalog.pg_subscription) s
WHERE s.subdbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
  AND (NOT s.subenabled OR NOT EXISTS (SELECT FROM pg_catalog.pg_stat_subscription t
                                       WHERE t.subid = s.oid AND t.pid IS NOT NULL))
ORDER BY 1
