-- Invalid indexes, and whether each was left behind by REINDEX CONCURRENTLY: it has the suffix _ccnew
-- or _ccold, and the table has another index of the same definition (for _ccold: a valid one).
SELECT x.indexrelid::bigint AS oid, n.nspname AS schema, i.relname AS name, tn.nspname AS table_schema,
       t.relname AS table_name, greatest(i.relpages, b.relpages / 2) * current_setting('block_size')::bigint AS bytes,
       x.indisexclusion AS exclusion, x.indislive AS live,
       i.relname ~ '_cc(new|old)[0-9]*$' AND EXISTS (
         SELECT FROM pg_catalog.pg_index y JOIN pg_catalog.pg_class j ON j.oid = y.indexrelid
         WHERE y.indrelid = x.indrelid AND y.indexrelid <> x.indexrelid
           AND (y.indisvalid OR i.relname !~ '_ccold[0-9]*$' AND j.relname !~ '_cc(new|old)[0-9]*$')
           AND (y.indkey, y.indclass, y.indcollation, y.indisunique)
             = (x.indkey, x.indclass, x.indcollation, x.indisunique)
           AND to_jsonb(y)->'indnullsnotdistinct' IS NOT DISTINCT FROM to_jsonb(x)->'indnullsnotdistinct' -- from 15 on
           AND y.indoption::text = x.indoption::text
           AND pg_get_expr(y.indexprs, y.indrelid) IS NOT DISTINCT FROM pg_get_expr(x.indexprs, x.indrelid)
           AND pg_get_expr(y.indpred, y.indrelid) IS NOT DISTINCT FROM pg_get_expr(x.indpred, x.indrelid)) AS leftover,
       (SELECT min(l.pid) FROM pg_catalog.pg_locks l
        WHERE l.relation = x.indrelid AND l.granted AND l.pid <> pg_backend_pid()
          AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
          AND l.mode NOT IN ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock')) AS busy,
       pg_catalog.pg_has_role(t.relowner, 'USAGE') AS owned,
       (SELECT o.rolname::text FROM pg_catalog.pg_roles o WHERE o.oid = t.relowner) AS owner
FROM pg_catalog.pg_index x
JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid AND i.relkind = 'i' AND i.relpersistence <> 't'
JOIN pg_catalog.pg_namespace n ON n.oid = i.relnamespace
JOIN pg_catalog.pg_class b ON b.oid = x.indrelid
JOIN pg_catalog.pg_class t ON t.oid = b.oid AND b.relkind <> 't' OR t.reltoastrelid = b.oid AND b.relkind = 't'
JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
WHERE NOT (x.indisvalid AND x.indisready AND x.indislive) AND i.oid >= 16384
  AND tn.nspname NOT IN ('pg_catalog', 'information_schema', 'sereno')
ORDER BY leftover DESC, schema, name
