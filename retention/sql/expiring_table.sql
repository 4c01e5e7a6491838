-- A table with an age column: its kind, the cutoff, its size, and the indexes that a walk can use.
SELECT c.relkind::text AS kind,
       t.typname::text AS type,
       pg_catalog.row_security_active(c.oid) AS hidden,
       pg_catalog.has_table_privilege(c.oid, 'DELETE') AS deletable,
       now() - %(age)s::interval AS cutoff,
       extract(epoch FROM now() - %(age)s::interval)::numeric AS epoch,
       pg_catalog.pg_relation_size(c.oid) / current_setting('block_size')::bigint AS blocks,
       (SELECT sum(pg_catalog.pg_table_size(s.oid))::float8
               / nullif(sum(greatest(s.reltuples, 0)), 0)
        FROM pg_catalog.pg_class s
        WHERE s.oid = c.oid
           OR s.oid IN (SELECT relid FROM pg_catalog.pg_partition_tree(c.oid))) AS bytes_a_row,
       EXISTS (SELECT FROM pg_catalog.pg_index x
               JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
               JOIN pg_catalog.pg_am m ON m.oid = i.relam AND m.amname = 'btree'
               WHERE x.indrelid = c.oid AND x.indkey[0] = a.attnum
                 AND x.indisvalid AND x.indpred IS NULL) AS indexed,
       EXISTS (SELECT FROM pg_catalog.pg_index x
               WHERE x.indrelid = c.oid AND x.indisunique AND x.indisvalid AND x.indimmediate
                 AND x.indpred IS NULL AND x.indexprs IS NULL) AS keyed,
       ARRAY(SELECT ARRAY[f.attname::text, pg_catalog.format_type(f.atttypid, f.atttypmod)]
             FROM pg_catalog.pg_attribute f
             WHERE f.attrelid = c.oid AND f.attnum > 0
               AND NOT f.attisdropped AND f.attgenerated = ''
             ORDER BY f.attnum) AS columns
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_attribute a
  ON a.attrelid = c.oid AND a.attname = %(column)s AND NOT a.attisdropped
LEFT JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
WHERE n.nspname = %(schema)s AND c.relname = %(name)s AND c.relkind IN ('r', 'p')
