-- Columns, index expressions and extended statistics of analyzed tables that have no statistics yet.
-- Columns are compared only for tables with fewer statistics than columns, which are few.
WITH counted AS MATERIALIZED (
  SELECT starelid, stainherit, count(*) AS columns FROM pg_catalog.pg_statistic GROUP BY starelid, stainherit
), analyzed AS MATERIALIZED (
  SELECT oid, relkind = 'p' AS inherit, relnatts
  FROM pg_catalog.pg_class
  WHERE relkind IN ('r', 'm', 'p') AND reltuples > 0 AND relpersistence <> 't' AND {which}
    AND relnamespace <> ALL (ARRAY(SELECT oid FROM pg_catalog.pg_namespace
                                   WHERE nspname IN ('pg_catalog', 'information_schema', 'sereno')))
), missing (relid, name) AS (
  SELECT a.attrelid, a.attname::text
  FROM analyzed t
  LEFT JOIN counted s ON s.starelid = t.oid AND s.stainherit = t.inherit
  JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0
  WHERE t.relnatts > coalesce(s.columns, 0) AND NOT a.attisdropped AND a.attgenerated <> 'v'
    AND a.attstattarget IS DISTINCT FROM 0
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_statistic s
                    WHERE s.starelid = a.attrelid AND s.staattnum = a.attnum AND s.stainherit = t.inherit)
  UNION ALL
  SELECT x.indrelid, 'an expression of ' || i.relname
  FROM pg_catalog.pg_index x
  JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid AND i.relkind = 'i'
  JOIN analyzed t ON t.oid = x.indrelid
  JOIN pg_catalog.pg_attribute a ON a.attrelid = x.indexrelid AND x.indkey[a.attnum - 1] = 0
  WHERE x.indexprs IS NOT NULL AND x.indisvalid AND a.attnum <= x.indnkeyatts
    AND a.attstattarget IS DISTINCT FROM 0
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_statistic s
                    WHERE s.starelid = x.indexrelid AND s.staattnum = a.attnum)
  UNION ALL
  SELECT e.stxrelid, 'statistics ' || e.stxname
  FROM pg_catalog.pg_statistic_ext e
  JOIN analyzed t ON t.oid = e.stxrelid
  WHERE e.stxstattarget IS DISTINCT FROM 0
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_statistic_ext_data d WHERE d.stxoid = e.oid {inherit})
)
SELECT relid::bigint AS oid, array_agg(DISTINCT name ORDER BY name) AS names FROM missing GROUP BY relid
