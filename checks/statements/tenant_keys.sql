-- The foreign keys between two tables that both have the tenant's column, unless the key itself
-- compares it. Partitions have the keys of their parent.
SELECT cn.nspname AS child_schema, cr.relname AS child_name,
       pn.nspname AS parent_schema, pr.relname AS parent_name,
       (SELECT array_agg(a.attname::text ORDER BY k.place)
        FROM unnest(c.conkey) WITH ORDINALITY k (number, place)
        JOIN pg_catalog.pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.number) AS child_columns,
       (SELECT array_agg(a.attname::text ORDER BY k.place)
        FROM unnest(c.confkey) WITH ORDINALITY k (number, place)
        JOIN pg_catalog.pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = k.number) AS parent_columns
FROM pg_catalog.pg_constraint c
JOIN pg_catalog.pg_class cr ON cr.oid = c.conrelid
JOIN pg_catalog.pg_namespace cn ON cn.oid = cr.relnamespace
JOIN pg_catalog.pg_class pr ON pr.oid = c.confrelid
JOIN pg_catalog.pg_namespace pn ON pn.oid = pr.relnamespace
JOIN pg_catalog.pg_attribute ct
  ON ct.attrelid = c.conrelid AND ct.attname = %(tenant)s AND NOT ct.attisdropped
JOIN pg_catalog.pg_attribute pt
  ON pt.attrelid = c.confrelid AND pt.attname = %(tenant)s AND NOT pt.attisdropped
WHERE c.contype = 'f' AND c.conparentid = 0
  AND NOT EXISTS (SELECT FROM unnest(c.conkey, c.confkey) AS k (own, other)
                  WHERE k.own = ct.attnum AND k.other = pt.attnum)
ORDER BY 1, 2, c.conname
