-- Every table that is no partition, with the size of all its partitions, indexes and TOAST data.
--
-- Reads catalogs and statistics only. Sizes are those of the last VACUUM or ANALYZE (relpages); a
-- table that never had one is measured, unless it is locked.
WITH RECURSIVE member AS (
    SELECT c.oid AS root, c.oid FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
      AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'sereno')
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                      WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                        AND d.deptype = 'e')
    UNION ALL
    SELECT m.root, i.inhrelid FROM member m
    JOIN pg_catalog.pg_inherits i ON i.inhparent = m.oid
    JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid AND c.relispartition
), part AS (
    SELECT m.root, m.oid, c.relkind, c.reltuples, c.reltoastrelid, c.relpages,
           c.reltuples < 0 AND c.relkind = 'r' AND NOT EXISTS (
               SELECT FROM pg_catalog.pg_locks l
               WHERE l.relation = m.oid AND l.mode = 'AccessExclusiveLock' AND l.database = (
                   SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()))
             AS unmeasured
    FROM member m JOIN pg_catalog.pg_class c USING (oid)
), size AS (
    SELECT p.root,
           sum(CASE WHEN p.unmeasured THEN pg_catalog.pg_table_size(p.oid)
                    ELSE current_setting('block_size')::bigint * (p.relpages
                         + coalesce((SELECT t.relpages FROM pg_catalog.pg_class t
                                     WHERE t.oid = p.reltoastrelid), 0)
                         + coalesce((SELECT sum(x.relpages) FROM pg_catalog.pg_index i
                                     JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
                                     WHERE i.indrelid = p.oid), 0))
               END)::bigint AS bytes,
           sum(greatest(p.reltuples, 0)) FILTER (WHERE p.relkind = 'r')::bigint AS rows,
           count(*) FILTER (WHERE p.oid <> p.root) AS partitions,
           coalesce(sum(s.n_tup_ins), 0)::bigint AS inserted,
           coalesce(sum(s.n_tup_upd), 0)::bigint AS updated
    FROM part p LEFT JOIN pg_catalog.pg_stat_all_tables s ON s.relid = p.oid
    GROUP BY 1
)
SELECT n.nspname::text AS schema, c.relname::text AS name, o.rolname::text AS owner,
       o.rolsuper AS superuser, size.bytes, size.rows, size.partitions, size.inserted,
       size.updated, c.oid::bigint AS oid, c.relkind = 'p' AS partitioned,
       EXISTS (SELECT FROM pg_catalog.pg_index i
               WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
                 AND i.indexprs IS NULL AND i.indimmediate) AS keyed
FROM size
JOIN pg_catalog.pg_class c ON c.oid = size.root
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_roles o ON o.oid = c.relowner
ORDER BY size.bytes DESC, 1, 2
