-- The tables that may need ANALYZE or VACUUM, with their thresholds computed as autovacuum does from
-- settings and storage parameters (a TOAST table has its own, or its table's). A partitioned table has
-- the changes of all its leaves.
-- No function used here opens a table, since a table under ACCESS EXCLUSIVE would block the query.
WITH RECURSIVE setting AS (
  SELECT current_setting('autovacuum_analyze_threshold')::float8 AS analyze_base,
         current_setting('autovacuum_analyze_scale_factor')::float8 AS analyze_scale,
         current_setting('autovacuum_vacuum_threshold')::float8 AS vacuum_base,
         current_setting('autovacuum_vacuum_scale_factor')::float8 AS vacuum_scale,
         coalesce(current_setting('autovacuum_vacuum_max_threshold', true)::float8, -1) AS vacuum_max,
         current_setting('autovacuum_vacuum_insert_threshold')::float8 AS insert_base,
         current_setting('autovacuum_vacuum_insert_scale_factor')::float8 AS insert_scale,
         current_setting('autovacuum_freeze_max_age')::float8 AS age_most,
         current_setting('autovacuum_multixact_freeze_max_age')::float8 AS members_most,
         nullif(current_setting('vacuum_freeze_table_age')::float8, 0) AS age_table, -- 0 means always aggressive
         nullif(current_setting('vacuum_multixact_freeze_table_age')::float8, 0) AS members_table,
         0.75 * greatest(current_setting('vacuum_failsafe_age')::float8, -- the server raises it to this
                         1.05 * current_setting('autovacuum_freeze_max_age')::float8) AS age_failsafe,
         0.75 * greatest(current_setting('vacuum_multixact_failsafe_age')::float8,
                         1.05 * current_setting('autovacuum_multixact_freeze_max_age')::float8) AS members_failsafe,
         current_setting('block_size')::float8 AS block,
         current_setting('server_version_num')::int AS version,
         pg_catalog.pg_has_role((SELECT datdba FROM pg_catalog.pg_database WHERE datname = current_database()), 'USAGE')
           AS owns_database
), locked AS MATERIALIZED (
  SELECT relation FROM pg_catalog.pg_locks WHERE mode = 'AccessExclusiveLock' AND relation IS NOT NULL
), changed AS MATERIALIZED (
  -- cheap filter first: a table without writes is due only by its age
  SELECT c.*, t.relfrozenxid AS toast_frozen, t.relminmxid AS toast_members, t.reltuples AS toast_reltuples,
         t.relpages AS toast_pages, t.reloptions AS toast_reloptions,
         coalesce(pg_catalog.pg_stat_get_live_tuples(c.oid), 0) AS live,
         coalesce(pg_catalog.pg_stat_get_dead_tuples(c.oid), 0) AS dead,
         coalesce(pg_catalog.pg_stat_get_ins_since_vacuum(c.oid), 0) AS inserted,
         coalesce(pg_catalog.pg_stat_get_mod_since_analyze(c.oid), 0) AS modified,
         coalesce(pg_catalog.pg_stat_get_dead_tuples(c.reltoastrelid), 0) AS toast_dead,
         coalesce(pg_catalog.pg_stat_get_ins_since_vacuum(c.reltoastrelid), 0) AS toast_inserted
  FROM pg_catalog.pg_class c
  CROSS JOIN setting g
  LEFT JOIN pg_catalog.pg_class t ON t.oid = c.reltoastrelid
  WHERE c.relkind IN ('r', 'm', 'p') AND c.relpersistence <> 't'
    AND (c.relkind = 'p' OR c.reltuples < 0
         OR pg_catalog.pg_stat_get_mod_since_analyze(c.oid) > 0 OR pg_catalog.pg_stat_get_dead_tuples(c.oid) > 0
         OR pg_catalog.pg_stat_get_ins_since_vacuum(c.oid) > 0
         OR pg_catalog.pg_stat_get_dead_tuples(c.reltoastrelid) > 0
         OR pg_catalog.pg_stat_get_ins_since_vacuum(c.reltoastrelid) > 0
         OR greatest(age(c.relfrozenxid), age(t.relfrozenxid)) >= least(g.age_table, 0.95 * g.age_most)
         OR greatest(mxid_age(c.relminmxid), mxid_age(t.relminmxid)) >= least(g.members_table, 0.95 * g.members_most)
         OR c.reloptions IS NOT NULL OR t.reloptions IS NOT NULL OR c.oid = ANY ({also}::oid[]))
), relation AS (
  SELECT c.oid, n.nspname, c.relname, c.relkind, c.relowner, c.relispartition, c.relisshared,
         greatest(c.reltuples, 0)::float8 AS tuples, c.reltuples < 0 AS unknown,
         n.nspname IN ('pg_catalog', 'information_schema') AS system,
         c.live, c.dead, c.inserted, c.modified, c.toast_dead, c.toast_inserted,
         CASE WHEN c.relkind <> 'p' THEN greatest(age(c.relfrozenxid), age(c.toast_frozen)) ELSE 0 END AS age,
         CASE WHEN c.relkind <> 'p' THEN greatest(mxid_age(c.relminmxid), mxid_age(c.toast_members)) ELSE 0 END AS members,
         {unfrozen} AS unfrozen,
         greatest(c.toast_reltuples, 0)::float8 AS toast_tuples,
         -- relpages scaled by the growth in rows since; the real size if it was never counted
         CASE WHEN c.relkind = 'p' THEN 0
              WHEN c.reltuples < 0 AND c.oid NOT IN (SELECT relation FROM locked)
                THEN coalesce(pg_catalog.pg_relation_size(c.oid), 0)
              WHEN c.reltuples > 0 AND c.relpages > 0
                THEN g.block * c.relpages * greatest(1, (c.live + c.dead) / c.reltuples)
              ELSE g.block * greatest(c.relpages, (c.live + c.dead) / 50.0) END::float8 AS bytes,
         coalesce(g.block * c.toast_pages, 0) AS toast_bytes,
         CASE WHEN c.reloptions IS NOT NULL THEN
           (SELECT jsonb_object_agg(option_name, option_value)
            FROM pg_catalog.pg_options_to_table(c.reloptions)) END AS own,
         CASE WHEN c.toast_reloptions IS NOT NULL OR c.reloptions IS NOT NULL THEN
           (SELECT jsonb_object_agg(option_name, option_value)
            FROM pg_catalog.pg_options_to_table(coalesce(c.toast_reloptions, c.reloptions))) END AS toast_own
  FROM changed c
  CROSS JOIN setting g
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname <> 'sereno'
), worker AS MATERIALIZED (
  SELECT p.relid, min(p.pid) AS pid
  FROM (SELECT pid, relid, datid FROM pg_catalog.pg_stat_progress_vacuum
        UNION ALL SELECT pid, relid, datid FROM pg_catalog.pg_stat_progress_analyze) p
  JOIN pg_catalog.pg_stat_activity a USING (pid)
  WHERE a.backend_type = 'autovacuum worker'
    AND p.datid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
  GROUP BY p.relid
), below (parent, relid) AS (
  SELECT oid, oid FROM relation WHERE relkind = 'p'
  UNION ALL
  SELECT b.parent, i.inhrelid FROM below b JOIN pg_catalog.pg_inherits i ON i.inhparent = b.relid
), leaves AS (
  SELECT b.parent,
         coalesce(sum(pg_catalog.pg_stat_get_tuples_inserted(c.oid) + pg_catalog.pg_stat_get_tuples_updated(c.oid)
                      + pg_catalog.pg_stat_get_tuples_deleted(c.oid)), 0) AS changes,
         coalesce(sum(g.block * greatest(c.relpages, (pg_catalog.pg_stat_get_live_tuples(c.oid)
                                                      + pg_catalog.pg_stat_get_dead_tuples(c.oid)) / 50.0)), 0) AS bytes
  FROM below b CROSS JOIN setting g JOIN pg_catalog.pg_class c ON c.oid = b.relid AND c.relkind IN ('r', 'f')
  GROUP BY b.parent
)
SELECT r.oid::bigint AS oid, r.nspname AS schema, r.relname AS name, r.system, r.relkind = 'p' AS partitioned,
       CASE WHEN r.relispartition THEN pg_catalog.pg_partition_root(r.oid)::oid::bigint END AS root,
       r.unknown, r.modified, r.dead, r.inserted, r.toast_dead, r.toast_inserted, r.age, r.members,
       coalesce(pg_catalog.pg_stat_get_last_analyze_time(r.oid) > now() - interval '1 day', false) AS recent,
       extract(epoch FROM now() - greatest(pg_catalog.pg_stat_get_last_analyze_time(r.oid),
                                           pg_catalog.pg_stat_get_last_autoanalyze_time(r.oid)))::float8 AS analyzed_ago,
       w.pid AS worker, r.tuples,
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
       nullif(coalesce((r.toast_own->>'autovacuum_vacuum_insert_threshold')::float8, g.insert_base), -1)
         + coalesce((r.toast_own->>'autovacuum_vacuum_insert_scale_factor')::float8, g.insert_scale) * r.toast_tuples
         AS toast_inserted_threshold,
       least(g.age_table, 0.95 * least(g.age_most, (r.own->>'autovacuum_freeze_max_age')::float8,
                                       (r.toast_own->>'autovacuum_freeze_max_age')::float8)) AS age_limit,
       least(g.members_table, 0.95 * least(g.members_most, (r.own->>'autovacuum_multixact_freeze_max_age')::float8,
                                           (r.toast_own->>'autovacuum_multixact_freeze_max_age')::float8)) AS members_limit,
       r.age >= g.age_failsafe OR r.members >= g.members_failsafe AS failing,
       coalesce(l.changes, 0)::bigint AS changes,
       least(coalesce(l.bytes, r.bytes + r.toast_bytes), 9e18)::bigint AS bytes,
       least(r.bytes * r.dead / greatest(r.live + r.dead, 1)
               + r.toast_bytes * r.toast_dead / greatest(r.toast_tuples + r.toast_dead, 1), 9e18)::bigint AS dead_bytes,
       (g.owns_database AND NOT r.relisshared)
         OR CASE WHEN g.version >= 170000 THEN pg_catalog.has_table_privilege(r.oid, 'MAINTAIN')
                 ELSE pg_catalog.pg_has_role(r.relowner, 'USAGE') END AS allowed
FROM relation r
CROSS JOIN setting g
LEFT JOIN leaves l ON l.parent = r.oid
LEFT JOIN worker w ON w.relid = r.oid
