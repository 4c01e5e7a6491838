-- The tables that may be due, each with its own effective triggers (settings, reloptions) for analyze and vacuum,
-- as autovacuum has them; of a TOAST table its own ones, else its table's. Parents with the changes of all leaves.
WITH setting AS (
  SELECT current_setting('autovacuum_analyze_threshold')::float8 AS analyze_base,
         current_setting('autovacuum_analyze_scale_factor')::float8 AS analyze_scale,
         current_setting('autovacuum_vacuum_threshold')::float8 AS vacuum_base,
         current_setting('autovacuum_vacuum_scale_factor')::float8 AS vacuum_scale,
         coalesce(current_setting('autovacuum_vacuum_max_threshold', true)::float8, -1) AS vacuum_max,
         current_setting('autovacuum_vacuum_insert_threshold')::float8 AS insert_base,
         current_setting('autovacuum_vacuum_insert_scale_factor')::float8 AS insert_scale,
         current_setting('autovacuum_freeze_max_age')::float8 AS age_most,
         current_setting('autovacuum_multixact_freeze_max_age')::float8 AS members_most,
         current_setting('vacuum_freeze_table_age')::float8 AS age_table,
         current_setting('vacuum_multixact_freeze_table_age')::float8 AS members_table,
         current_setting('server_version_num')::int AS version,
         pg_catalog.pg_has_role((SELECT datdba FROM pg_catalog.pg_database WHERE datname = current_database()), 'USAGE')
           AS owns_database
), changed AS MATERIALIZED (
  -- First the cheap look: a table that nobody has written to is due only by its age.
  SELECT c.*, t.relfrozenxid AS toast_frozen, t.relminmxid AS toast_members, t.reltuples AS toast_reltuples,
         t.reloptions AS toast_reloptions
  FROM pg_catalog.pg_class c
  CROSS JOIN setting g
  LEFT JOIN pg_catalog.pg_class t ON t.oid = c.reltoastrelid
  WHERE c.relkind IN ('r', 'm', 'p') AND c.relpersistence <> 't'
    AND (c.relkind = 'p' OR c.reltuples < 0
         OR pg_catalog.pg_stat_get_mod_since_analyze(c.oid) > 0 OR pg_catalog.pg_stat_get_dead_tuples(c.oid) > 0
         OR pg_catalog.pg_stat_get_ins_since_vacuum(c.oid) > 0
         OR pg_catalog.pg_stat_get_dead_tuples(c.reltoastrelid) > 0
         OR greatest(age(c.relfrozenxid), age(t.relfrozenxid)) >= least(g.age_table, 0.95 * g.age_most)
         OR greatest(mxid_age(c.relminmxid), mxid_age(t.relminmxid)) >= least(g.members_table, 0.95 * g.members_most)
         OR c.reloptions IS NOT NULL)
), relation AS (
  SELECT c.oid, n.nspname, c.relname, c.relkind, c.relowner, c.relispartition, c.relisshared,
         greatest(c.reltuples, 0)::float8 AS tuples, c.reltuples < 0 AS unknown,
         n.nspname IN ('pg_catalog', 'information_schema') AS system,
         coalesce(pg_catalog.pg_stat_get_live_tuples(c.oid), 0) AS live,
         coalesce(pg_catalog.pg_stat_get_dead_tuples(c.oid), 0) AS dead,
         coalesce(pg_catalog.pg_stat_get_ins_since_vacuum(c.oid), 0) AS inserted,
         coalesce(pg_catalog.pg_stat_get_mod_since_analyze(c.oid), 0) AS modified,
         CASE WHEN c.relkind <> 'p' THEN greatest(age(c.relfrozenxid), age(c.toast_frozen)) ELSE 0 END AS age,
         CASE WHEN c.relkind <> 'p' THEN greatest(mxid_age(c.relminmxid), mxid_age(c.toast_members)) ELSE 0 END AS members,
         {unfrozen} AS unfrozen,
         greatest(c.toast_reltuples, 0)::float8 AS toast_tuples,
         coalesce(pg_catalog.pg_stat_get_dead_tuples(c.reltoastrelid), 0) AS toast_dead,
         CASE WHEN c.relkind = 'p' THEN 0 ELSE pg_catalog.pg_relation_size(c.oid) END AS bytes,
         coalesce(pg_catalog.pg_relation_size(nullif(c.reltoastrelid, 0)), 0) AS toast_bytes,
         CASE WHEN c.reloptions IS NOT NULL THEN
           (SELECT jsonb_object_agg(option_name, option_value)
            FROM pg_catalog.pg_options_to_table(c.reloptions)) END AS own,
         CASE WHEN c.toast_reloptions IS NOT NULL OR c.reloptions IS NOT NULL THEN
           (SELECT jsonb_object_agg(option_name, option_value)
            FROM pg_catalog.pg_options_to_table(coalesce(c.toast_reloptions, c.reloptions))) END AS toast_own
  FROM changed c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname <> 'sereno'
)
SELECT r.oid::bigint AS oid, r.nspname AS schema, r.relname AS name, r.system, r.relkind = 'p' AS partitioned,
       CASE WHEN r.relispartition THEN pg_catalog.pg_partition_root(r.oid)::oid::bigint END AS root,
       r.unknown, r.modified, r.dead, r.inserted, r.toast_dead, r.age, r.members,
       coalesce(pg_catalog.pg_stat_get_last_analyze_time(r.oid) > now() - interval '1 day', false) AS recent,
       coalesce((r.own->>'autovacuum_analyze_threshold')::float8, g.analyze_base)
         + coalesce((r.own->>'autovacuum_analyze_scale_factor')::float8, g.analyze_scale) * r.tuples AS analyze_threshold,
       least(coalesce((r.own->>'autovacuum_vacuum_threshold')::float8, g.vacuum_base)
               + coalesce((r.own->>'autovacuum_vacuum_scale_factor')::float8, g.vacuum_scale) * r.tuples,
             nullif(coalesce((r.own->>'autovacuum_vacuum_max_threshold')::float8, g.vacuum_max), -1)) AS dead_threshold,
       nullif(coalesce((r.own->>'autovacuum_vacuum_insert_threshold')::float8, g.insert_base), -1)
         + coalesce((r.own->>'autovacuum_vacuum_insert_scale_factor')::float8, g.insert_scale)
           * r.tuples * r.unfrozen AS inserted_threshold,
       least(coalesce((r.toast_own->>'autovacuum_vacuum_threshold')::float8, g.vacuum_base)
               + coalesce((r.toast_own->>'autovacuum_vacuum_scale_factor')::float8, g.vacuum_scale) * r.toast_tuples,
             nullif(coalesce((r.toast_own->>'autovacuum_vacuum_max_threshold')::float8, g.vacuum_max), -1))
         AS toast_threshold,
       least(g.age_table,
             0.95 * least(g.age_most, (r.own->>'autovacuum_freeze_max_age')::float8)) AS age_limit,
       least(g.members_table,
             0.95 * least(g.members_most, (r.own->>'autovacuum_multixact_freeze_max_age')::float8)) AS members_limit,
       CASE WHEN r.relkind = 'p' THEN leaves.changes ELSE 0 END::bigint AS changes,
       CASE WHEN r.relkind = 'p' THEN leaves.bytes ELSE r.bytes + r.toast_bytes END::bigint AS bytes,
       (r.bytes * r.dead / greatest(r.live + r.dead, 1)
         + r.toast_bytes * r.toast_dead / greatest(r.toast_tuples + r.toast_dead, 1))::bigint AS dead_bytes,
       CASE WHEN g.version >= 170000 THEN pg_catalog.has_table_privilege(r.oid, 'MAINTAIN')
            ELSE (g.owns_database AND NOT r.relisshared) OR pg_catalog.pg_has_role(r.relowner, 'USAGE') END AS allowed
FROM relation r
CROSS JOIN setting g
LEFT JOIN LATERAL (
  SELECT coalesce(sum(pg_catalog.pg_stat_get_tuples_inserted(t.relid) + pg_catalog.pg_stat_get_tuples_updated(t.relid)
                      + pg_catalog.pg_stat_get_tuples_deleted(t.relid)), 0) AS changes,
         coalesce(sum(pg_catalog.pg_relation_size(t.relid)), 0) AS bytes
  FROM pg_catalog.pg_partition_tree(CASE WHEN r.relkind = 'p' THEN r.oid END) t
  WHERE t.isleaf
) leaves ON r.relkind = 'p'
