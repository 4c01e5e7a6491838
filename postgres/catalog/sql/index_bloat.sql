-- B-tree indexes with their size and the size of a fresh build, estimated from statistics.
-- An entry takes its line pointer (4 bytes), its header (8) and its columns, padded to 8; a page has
-- 40 bytes of its own and is filled to fillfactor (manual, 65.6 B-Tree Structure). Equal keys share
-- an entry of up to 812 bytes, 6 for each row, unless the index is unique, has INCLUDE columns or
-- a type whose equal values may look different. Without statistics of a column of variable length
-- nothing is estimated.
WITH large AS (
  SELECT x.indexrelid, x.indrelid, x.indkey, x.indnatts, i.relname, i.relnamespace, i.relpages,
         -- as many rows as VACUUM will leave
         greatest(i.reltuples, 0)::float8
           * CASE WHEN t.reltuples > 0 AND alive + dead > 0
                  THEN least(1, alive / t.reltuples) ELSE 1 END AS tuples,
         current_setting('block_size')::float8 AS block,
         coalesce((SELECT option_value::float8 FROM pg_catalog.pg_options_to_table(i.reloptions)
                   WHERE option_name = 'fillfactor'), 90) / 100 AS fill,
         greatest(t.reltuples, 1)::float8 AS table_tuples,
         NOT x.indisunique AND x.indnatts = x.indnkeyatts
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_options_to_table(i.reloptions)
                         WHERE option_name = 'deduplicate_items' AND option_value IN ('off', 'false', 'no', '0'))
         AND NOT EXISTS ( -- support function 4: equal values look alike
           SELECT FROM unnest(x.indclass::oid[], x.indcollation::oid[]) AS k (class, collation_id)
           JOIN pg_catalog.pg_opclass c ON c.oid = k.class
           WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_amproc f
                             WHERE f.amprocfamily = c.opcfamily AND f.amprocnum = 4
                               AND f.amproclefttype = c.opcintype AND f.amprocrighttype = c.opcintype)
              OR EXISTS (SELECT FROM pg_catalog.pg_collation o WHERE o.oid = k.collation_id AND NOT o.collisdeterministic))
           AS shares
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
  SELECT l.*, k.nulls, k.unknown, 8 + 8 * ceil(k.width / 8) AS entry,
         least(k.keys, greatest(l.tuples * (1 - k.nulls), 1)) AS keys
  FROM large l
  CROSS JOIN LATERAL (
    SELECT sum(coalesce(s.stawidth * (1 - s.stanullfrac), a.attlen)) AS width,
           bool_or(s.starelid IS NULL AND a.attlen < 0) AS unknown,
           CASE WHEN bool_or(coalesce(s.stanullfrac, 0) = 0) THEN 0 ELSE exp(sum(ln(nullif(s.stanullfrac, 0)))) END AS nulls,
           exp(least(700, sum(ln(greatest(1, coalesce(CASE WHEN s.stadistinct >= 0 THEN s.stadistinct
                                                 ELSE -s.stadistinct * l.table_tuples END,
                                            l.table_tuples)))))) AS keys
    FROM pg_catalog.generate_series(1, l.indnatts) k
    JOIN pg_catalog.pg_attribute a ON a.attrelid = l.indexrelid AND a.attnum = k
    LEFT JOIN pg_catalog.pg_statistic s
      ON NOT s.stainherit
     AND CASE WHEN l.indkey[k - 1] = 0
              THEN s.starelid = l.indexrelid AND s.staattnum = k
              ELSE s.starelid = l.indrelid AND s.staattnum = l.indkey[k - 1] END
  ) k
), entries AS (
  -- rows of distinct keys, and of the key of which all columns are NULL
  SELECT *, tuples * (1 - nulls) AS filled, tuples * nulls AS empty,
         CASE WHEN shares AND tuples * (1 - nulls) >= 2 * keys
              THEN least(tuples * (1 - nulls) / keys, floor((812 - entry) / 6)) ELSE 1 END AS together
  FROM sized
), built AS (
  -- the last entry of a full page goes to the next one
  SELECT *, CASE WHEN together > 1 THEN keys * ceil(filled / keys / together) ELSE filled END
              / greatest(1, ceil(usable / item) - 1)
            + empty / (CASE WHEN shares THEN 132 ELSE 1 END)
              / greatest(1, ceil(usable / (CASE WHEN shares THEN 812 ELSE 20 END)) - 1) AS leaves
  FROM entries
  CROSS JOIN LATERAL (SELECT (block - 40) * fill AS usable,
                             CASE WHEN together > 1 THEN 4 + 8 * ceil((entry + 6 * together) / 8)
                                  ELSE entry + 4 END AS item) i
)
SELECT s.indexrelid::bigint AS oid, n.nspname AS schema, s.relname AS name,
       tn.nspname AS table_schema, t.relname AS table_name,
       pg_catalog.pg_has_role(t.relowner, 'USAGE') AS owned,
       (SELECT o.rolname::text FROM pg_catalog.pg_roles o WHERE o.oid = t.relowner) AS owner,
       (s.block * s.relpages)::bigint AS bytes,
       CASE WHEN s.unknown THEN s.block * s.relpages ELSE least(s.block * s.relpages,
             s.block * (1 + ceil(s.leaves) -- and the pages above them
                        + CASE WHEN s.leaves > 1 THEN ceil(s.leaves * (s.entry + 4) / (s.block * 0.7))
                               ELSE 0 END)) END::bigint AS needed
FROM built s
JOIN pg_catalog.pg_namespace n ON n.oid = s.relnamespace
JOIN pg_catalog.pg_class t ON t.oid = s.indrelid
JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
WHERE tn.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'sereno')
