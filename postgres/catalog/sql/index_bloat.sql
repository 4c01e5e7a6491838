-- B-tree indexes with their size and the size of a fresh build, estimated from statistics.
-- An entry takes its line pointer (4 bytes), its header (8) and its columns, padded to 8; a page has
-- 40 bytes of its own and is filled to fillfactor (manual, 65.6 B-Tree Structure). Deduplication
-- makes an index smaller still.
WITH large AS (
  SELECT x.indexrelid, x.indrelid, x.indkey, x.indnatts, i.relname, i.relnamespace, i.relpages,
         -- as many rows as VACUUM will leave
         greatest(i.reltuples, 0)::float8
           * CASE WHEN t.reltuples > 0 AND alive + dead > 0
                  THEN least(1, alive / t.reltuples) ELSE 1 END AS tuples,
         current_setting('block_size')::float8 AS block,
         coalesce((SELECT option_value::float8 FROM pg_catalog.pg_options_to_table(i.reloptions)
                   WHERE option_name = 'fillfactor'), 90) / 100 AS fill
  FROM pg_catalog.pg_index x
  JOIN pg_catalog.pg_class i
    ON i.oid = x.indexrelid AND i.relkind = 'i' AND i.relpersistence <> 't'
  JOIN pg_catalog.pg_am m ON m.oid = i.relam AND m.amname = 'btree'
  JOIN pg_catalog.pg_class t ON t.oid = x.indrelid
  CROSS JOIN LATERAL (SELECT pg_catalog.pg_stat_get_live_tuples(t.oid)::float8 AS alive,
                             pg_catalog.pg_stat_get_dead_tuples(t.oid) AS dead) s
  WHERE i.relpages >= {least} / current_setting('block_size')::int
    AND ({which})
    AND x.indisvalid AND x.indisready AND x.indislive AND NOT x.indisexclusion
    AND i.oid >= 16384
), sized AS (
  SELECT l.*,
         (SELECT sum(coalesce(s.stawidth * (1 - s.stanullfrac), 16))
          FROM pg_catalog.generate_series(1, l.indnatts) k
          LEFT JOIN pg_catalog.pg_statistic s
            ON NOT s.stainherit
           AND CASE WHEN l.indkey[k - 1] = 0
                    THEN s.starelid = l.indexrelid AND s.staattnum = k
                    ELSE s.starelid = l.indrelid AND s.staattnum = l.indkey[k - 1] END) AS width
  FROM large l
)
SELECT s.indexrelid::bigint AS oid, n.nspname AS schema, s.relname AS name,
       tn.nspname AS table_schema, t.relname AS table_name,
       pg_catalog.pg_has_role(t.relowner, 'USAGE') AS owned,
       (SELECT o.rolname::text FROM pg_catalog.pg_roles o WHERE o.oid = t.relowner) AS owner,
       (s.block * s.relpages)::bigint AS bytes,
       least(s.block * s.relpages,
             s.block * ceil(s.tuples * (12 + 8 * ceil(s.width / 8))
                            / ((s.block - 40) * s.fill)))::bigint AS needed
FROM sized s
JOIN pg_catalog.pg_namespace n ON n.oid = s.relnamespace
JOIN pg_catalog.pg_class t ON t.oid = s.indrelid
JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
WHERE tn.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'sereno')
