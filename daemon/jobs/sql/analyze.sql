-- Tables whose statistics may be stale: changes against the table's own effective threshold (settings, reloptions),
-- and partitioned parents, which autovacuum never analyzes, with the changes of all their leaves.
WITH setting AS (
  SELECT current_setting('autovacuum_analyze_threshold')::float8 AS base,
         current_setting('autovacuum_analyze_scale_factor')::float8 AS scale,
         current_setting('server_version_num')::int AS version,
         pg_catalog.pg_has_role((SELECT datdba FROM pg_catalog.pg_database WHERE datname = current_database()), 'USAGE')
           AS owns_database
), relation AS (
  SELECT c.oid, n.nspname, c.relname, c.relkind, c.reltuples, c.relowner, c.relispartition,
         (SELECT option_value FROM pg_catalog.pg_options_to_table(c.reloptions)
          WHERE option_name = 'autovacuum_analyze_threshold')::float8 AS own_base,
         (SELECT option_value FROM pg_catalog.pg_options_to_table(c.reloptions)
          WHERE option_name = 'autovacuum_analyze_scale_factor')::float8 AS own_scale
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'm', 'p') AND c.relpersistence <> 't'
    AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'sereno') AND n.nspname !~ '^pg_toast'
)
SELECT r.oid::bigint AS oid, r.nspname AS schema, r.relname AS name, r.relkind = 'p' AS partitioned,
       CASE WHEN r.relispartition THEN pg_catalog.pg_partition_root(r.oid)::oid::bigint END AS root,
       r.reltuples::float8 AS tuples,
       coalesce(s.n_mod_since_analyze, 0) AS modified,
       coalesce(s.last_analyze > now() - interval '1 day', false) AS recent,
       coalesce(r.own_base, g.base) + coalesce(r.own_scale, g.scale) * greatest(r.reltuples, 0) AS threshold,
       CASE WHEN r.relkind = 'p' THEN leaves.changes ELSE 0 END::bigint AS changes,
       CASE WHEN r.relkind = 'p' THEN leaves.bytes ELSE pg_catalog.pg_relation_size(r.oid) END::bigint AS bytes,
       CASE WHEN g.version >= 170000 THEN pg_catalog.has_table_privilege(r.oid, 'MAINTAIN')
            ELSE g.owns_database OR pg_catalog.pg_has_role(r.relowner, 'USAGE') END AS allowed
FROM relation r
CROSS JOIN setting g
LEFT JOIN pg_catalog.pg_stat_all_tables s ON s.relid = r.oid
LEFT JOIN LATERAL (
  SELECT coalesce(sum(l.n_tup_ins + l.n_tup_upd + l.n_tup_del), 0) AS changes,
         coalesce(sum(pg_catalog.pg_relation_size(t.relid)), 0) AS bytes
  FROM pg_catalog.pg_partition_tree(r.oid) t
  LEFT JOIN pg_catalog.pg_stat_all_tables l ON l.relid = t.relid
  WHERE t.isleaf
) leaves ON r.relkind = 'p'
