-- title   = "A table is much larger than its rows"
-- summary = "{percent} % of {size} is free space: a rewrite would leave {needed}"
-- remedy  = "VACUUM (FULL, ANALYZE) {object}; (locks it exclusively and needs {needed} free; pg_repack does it while others work)"
-- es.title   = "Una tabla es mucho mayor que sus filas"
-- es.summary = "{percent} % de {size} es espacio libre: una reescritura dejaría {needed}"
-- es.remedy  = "VACUUM (FULL, ANALYZE) {object}; (la bloquea y necesita {needed} libres; pg_repack lo hace mientras otros trabajan)"
-- option.bytes = { default = 1073741824, help = "free bytes from which it is a warning, together with share" }
-- option.share = { default = 0.4, help = "share of free space from which it is a warning" }
-- option.high_bytes = { default = 5368709120, help = "free bytes from which it is high, together with high_share" }
-- option.high_share = { default = 0.6, help = "share of free space from which it is high" }
-- source  = "PostgreSQL manual, 66.6 Database Page Layout: columns of average width, aligned in order; TOAST does not count"
WITH RECURSIVE large AS (
  SELECT c.oid, n.nspname, c.relname, c.relpages, current_setting('block_size')::float8 AS block,
         c.reltuples::float8 * CASE WHEN alive + dead > 0 AND c.reltuples > 0
                                    THEN least(1, alive / c.reltuples) ELSE 1 END AS tuples,
         coalesce((SELECT option_value::float8 FROM pg_catalog.pg_options_to_table(c.reloptions)
                   WHERE option_name = 'fillfactor'), 100) / 100 AS fill
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  CROSS JOIN LATERAL (SELECT pg_catalog.pg_stat_get_live_tuples(c.oid)::float8 AS alive,
                             pg_catalog.pg_stat_get_dead_tuples(c.oid)::float8 AS dead) s
  WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND c.reltuples >= 0 AND c.relpages > 0
    AND c.relpages >= :bytes / current_setting('block_size')::int
    AND n.nspname NOT IN ('pg_catalog', 'information_schema')
), field AS (
  SELECT a.attrelid, row_number() OVER (PARTITION BY a.attrelid ORDER BY a.attnum) AS place, a.attlen AS length,
         CASE a.attalign WHEN 'c' THEN 1 WHEN 's' THEN 2 WHEN 'i' THEN 4 ELSE 8 END AS align,
         coalesce(s.stawidth, nullif(greatest(a.attlen, 0), 0)) AS width, coalesce(s.stanullfrac, 0) AS nulls
  FROM large l
  JOIN pg_catalog.pg_attribute a ON a.attrelid = l.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_catalog.pg_statistic s ON s.starelid = a.attrelid AND s.staattnum = a.attnum AND NOT s.stainherit
), filled (oid, place, bytes) AS (
  SELECT oid, 0::bigint, 0::float8 FROM large
  UNION ALL
  SELECT f.oid, c.place, f.bytes + (1 - c.nulls) * CASE
           WHEN c.length > 0 THEN ceil(f.bytes / c.align) * c.align - f.bytes + c.length
           WHEN c.width < 127 THEN c.width -- a short header needs no alignment
           ELSE ceil(f.bytes / c.align) * c.align - f.bytes + c.width END
  FROM filled f JOIN field c ON c.attrelid = f.oid AND c.place = f.place + 1
), sized AS (
  SELECT l.*, (SELECT max(f.bytes) FROM filled f WHERE f.oid = l.oid) AS bytes,
         (SELECT 8 * ceil((23 + CASE WHEN bool_or(a.attisdropped OR s.stanullfrac > 0) THEN ceil(count(*) / 8.0) ELSE 0 END) / 8)
          FROM pg_catalog.pg_attribute a
          LEFT JOIN pg_catalog.pg_statistic s ON s.starelid = a.attrelid AND s.staattnum = a.attnum AND NOT s.stainherit
          WHERE a.attrelid = l.oid AND a.attnum > 0)::float8 AS header
  FROM large l
), estimate AS (
  SELECT *, least(relpages, ceil(tuples / greatest(CASE WHEN row > 800 THEN floor(per_page) ELSE per_page END, 1))) AS pages
  FROM sized
  CROSS JOIN LATERAL (SELECT header + 8 * ceil(bytes / 8) + 4 AS row) r
  CROSS JOIN LATERAL (SELECT (block - 24) * fill / row AS per_page) p
)
SELECT format('%I.%I', nspname, relname) AS object, round((free / block / relpages)::numeric, 4)::float8 AS value,
       CASE WHEN free >= :high_bytes AND free >= :high_share * relpages * block THEN 'high' ELSE 'warning' END AS severity,
       round((100 * free / block / relpages)::numeric) AS percent, pg_catalog.pg_size_pretty((relpages * block)::bigint) AS size,
       pg_catalog.pg_size_pretty((pages * block)::bigint) AS needed
FROM estimate
CROSS JOIN LATERAL (SELECT (relpages - pages) * block AS free) f
WHERE NOT EXISTS (SELECT FROM field WHERE field.attrelid = estimate.oid AND width IS NULL) -- not analyzed
  AND free >= :bytes AND free >= :share * relpages * block
ORDER BY 2 DESC, 1
