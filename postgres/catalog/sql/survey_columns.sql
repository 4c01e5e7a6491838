-- The columns of the given tables that tell a row's age, each with the distribution of its values
-- (pg_stats, in seconds since 1970), and whether an index begins with it.
SELECT a.attrelid::bigint AS oid, a.attname::text AS name,
       pg_catalog.format_type(a.atttypid, NULL) AS type,
       a.attnotnull AS not_null,
       EXISTS (SELECT FROM pg_catalog.pg_index i
               JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
               JOIN pg_catalog.pg_am m ON m.oid = x.relam AND m.amname IN ('btree', 'brin')
               WHERE i.indrelid = a.attrelid AND i.indisvalid AND i.indpred IS NULL
                 AND (i.indkey[0] = a.attnum
                      OR m.amname = 'brin' AND a.attnum = ANY (i.indkey::int2[]))) AS indexed,
       EXISTS (SELECT FROM pg_catalog.pg_partitioned_table p
               WHERE p.partrelid = a.attrelid AND p.partstrat = 'r' AND p.partnatts = 1
                 AND p.partattrs[0] = a.attnum) AS partition_key,
       EXISTS (SELECT FROM pg_catalog.pg_attrdef d
               WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum
                 AND pg_catalog.pg_get_expr(d.adbin, d.adrelid) ~* '(now|clock_timestamp|statement_timestamp)\(|CURRENT_(DATE|TIMESTAMP)')
         AS default_now,
       coalesce((SELECT array_agg(extract(epoch FROM b::timestamptz)::float8 ORDER BY n)
                 FROM pg_catalog.unnest(s.histogram_bounds::text::text[]) WITH ORDINALITY u(b, n)
                 WHERE b !~ 'infinity|BC'), ARRAY[]::float8[]) AS bounds
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
JOIN pg_catalog.pg_namespace ns ON ns.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_stats s ON s.schemaname = ns.nspname AND s.tablename = c.relname
  AND s.attname = a.attname AND s.inherited = (c.relkind = 'p')
WHERE a.attrelid = ANY (%s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
  AND a.atttypid IN ('date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype)
ORDER BY 1, a.attnum
