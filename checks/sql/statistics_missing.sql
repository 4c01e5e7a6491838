-- title   = "The planner has no statistics of a part of a table"
-- summary = "no statistics of {parts}"
-- remedy  = "ANALYZE {object};"
-- es.title   = "El planificador no tiene estadísticas de una parte de una tabla"
-- es.summary = "sin estadísticas de {parts}"
-- es.remedy  = "ANALYZE {object};"
-- option.days = { default = 1, help = "days, and nightly looks, for which they are missing" }
-- lasting = "days"
-- option.rows = { default = 10000, help = "smaller tables are ignored" }
-- source  = "PostgreSQL manual, 25.1.3; parents of partitions are never analyzed by autovacuum"
WITH wanted AS (
  SELECT c.oid, n.nspname, c.relname, c.relkind = 'p' AS parent
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'm', 'p') AND c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'sereno')
    -- of a table that was never analyzed only the size is known
    AND :rows <= (
      SELECT sum(CASE WHEN l.reltuples >= 0 THEN l.reltuples
                      ELSE 50 * pg_catalog.pg_relation_size(l.oid) / current_setting('block_size')::int END)
      FROM (SELECT relid FROM pg_catalog.pg_partition_tree(c.oid) WHERE isleaf AND c.relkind = 'p'
            UNION ALL SELECT c.oid WHERE c.relkind <> 'p') t
      JOIN pg_catalog.pg_class l ON l.oid = t.relid)
), missing AS (
  SELECT w.oid, quote_ident(a.attname) AS part
  FROM wanted w
  JOIN pg_catalog.pg_attribute a ON a.attrelid = w.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated <> 'v'
  WHERE a.attstattarget IS DISTINCT FROM 0
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_statistic s
                    WHERE s.starelid = w.oid AND s.staattnum = a.attnum AND s.stainherit = w.parent)
  UNION ALL
  SELECT w.oid, format('%I (CREATE STATISTICS)', e.stxname)
  FROM wanted w
  JOIN pg_catalog.pg_statistic_ext e ON e.stxrelid = w.oid
  WHERE e.stxstattarget IS DISTINCT FROM 0
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_statistic_ext_data d WHERE d.stxoid = e.oid
                    AND num_nonnulls(d.stxdndistinct, d.stxddependencies, d.stxdmcv, d.stxdexpr) > 0)
)
SELECT format('%I.%I', w.nspname, w.relname) AS object, count(*) AS value, 'warning' AS severity,
       array_to_string((array_agg(m.part ORDER BY m.part))[1:5] || CASE WHEN count(*) > 5 THEN '…' END, ', ') AS parts
FROM wanted w JOIN missing m ON m.oid = w.oid
GROUP BY w.nspname, w.relname
ORDER BY 1
