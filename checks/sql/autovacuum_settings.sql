-- title   = "Autovacuum is set too weak for this server"
-- scope   = "cluster"
-- summary = "{object} is {setting}: {why}"
-- remedy  = "ALTER SYSTEM SET {object} = '{better}'; SELECT pg_reload_conf();"
-- es.title   = "Autovacuum está configurado demasiado débil para este servidor"
-- es.summary = "{object} vale {setting}: {why_es}"
-- es.remedy  = "ALTER SYSTEM SET {object} = '{better}'; SELECT pg_reload_conf();"
-- option.bytes = { default = 107374182400, help = "the cost limit counts for servers of this size or more" }
-- source  = "PostgreSQL manual, 19.10"
SELECT object, 1 AS value, 'info' AS severity, setting, why, why_es, better
FROM (
  SELECT 'autovacuum_naptime' AS object, current_setting('autovacuum_naptime') AS setting,
         'each database is looked at less than once a minute' AS why,
         'mira cada base menos de una vez por minuto' AS why_es, '1min' AS better,
         (SELECT reset_val::int > 60 FROM pg_catalog.pg_settings WHERE name = 'autovacuum_naptime') AS weak
  UNION ALL
  SELECT 'autovacuum_vacuum_cost_limit', u.cost_limit::text,
         'all workers together read at most ' || u.cost_limit || ' cost units in each delay',
         'todos los procesos juntos leen como mucho ' || u.cost_limit || ' unidades de coste por pausa', '2000',
         u.cost_limit <= 200 AND (SELECT sum(pg_catalog.pg_database_size(oid)) FROM pg_catalog.pg_database) >= :bytes
           AND (SELECT reset_val::float8 > 0 FROM pg_catalog.pg_settings WHERE name = 'autovacuum_vacuum_cost_delay')
  FROM (SELECT CASE WHEN a.reset_val::int < 0 THEN v.reset_val::int ELSE a.reset_val::int END AS cost_limit
        FROM pg_catalog.pg_settings a, pg_catalog.pg_settings v
        WHERE a.name = 'autovacuum_vacuum_cost_limit' AND v.name = 'vacuum_cost_limit') u
) one
WHERE weak
ORDER BY 1
