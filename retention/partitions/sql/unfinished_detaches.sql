-- The partitions of a table whose detach an instance has begun and not finished.
SELECT d.id::text AS id, d."oid"::bigint AS oid,
       d.partition_schema AS schema, d.partition AS name,
       EXISTS (SELECT FROM pg_catalog.pg_partitioned_table p
               WHERE p.partrelid = to_regclass(format('%%I.%%I', "schema", "table"))
              ) AS declared,
       coalesce(pg_total_relation_size(c.oid), 0) AS bytes,
       greatest(c.reltuples, 0)::bigint AS rows,
       (SELECT r.rolname::text FROM pg_catalog.pg_roles r
        WHERE r.oid = coalesce(c.relowner, p.relowner)) AS owner
FROM sereno.detached_partition d
LEFT JOIN pg_catalog.pg_class c ON c.oid = d."oid"
LEFT JOIN pg_catalog.pg_class p ON p.oid = to_regclass(format('%%I.%%I', d."schema", d."table"))
WHERE d.instance = %s AND d."schema" = %s AND d."table" = %s AND {unsettled}
ORDER BY d.begun_at, d.id
