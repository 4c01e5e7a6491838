-- title   = "An index, partition or constraint compares by a collation whose version has changed"
-- summary = "{collation} was version {before}, the system has {now}: rows can be missed, duplicates accepted"
-- remedy  = "REINDEX INDEX CONCURRENTLY {object}; after all of them: {refresh}"
-- es.title   = "Un índice, partición o restricción compara con una colación cuya versión cambió"
-- es.summary = "{collation} era la versión {before}, el sistema tiene {now}: pueden faltar filas o aceptarse duplicados"
-- es.remedy  = "REINDEX INDEX CONCURRENTLY {object}; y después de todos: {refresh}"
-- source  = "PostgreSQL manual, 24.2.3 and ALTER COLLATION; C, POSIX and other collations without a version do not change"
WITH changed AS (
  SELECT o.oid, format('collation %I.%I', n.nspname, o.collname) AS collation, o.collversion AS before,
         pg_catalog.pg_collation_actual_version(o.oid) AS now,
         format('ALTER COLLATION %I.%I REFRESH VERSION;', n.nspname, o.collname) AS refresh
  FROM pg_catalog.pg_collation o
  JOIN pg_catalog.pg_namespace n ON n.oid = o.collnamespace
  WHERE o.collversion IS NOT NULL AND o.collversion <> pg_catalog.pg_collation_actual_version(o.oid)
)
SELECT DISTINCT ON (object) * FROM (
(SELECT DISTINCT ON (i.oid) format('%I.%I', n.nspname, i.relname) AS object, 1 AS value,
        CASE WHEN x.indisunique THEN 'critical' ELSE 'high' END AS severity,
        g.collation, g.before, g.now, g.refresh, NULL AS remedy
FROM pg_catalog.pg_index x
JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid AND i.relkind = 'i' AND i.relpersistence <> 't'
JOIN pg_catalog.pg_namespace n ON n.oid = i.relnamespace
JOIN pg_catalog.pg_am m ON m.oid = i.relam
CROSS JOIN LATERAL unnest(x.indcollation::oid[], x.indclass::oid[]) AS k (collation_id, class)
JOIN changed g ON g.oid = k.collation_id
JOIN pg_catalog.pg_collation o ON o.oid = k.collation_id
JOIN pg_catalog.pg_opclass c ON c.oid = k.class
-- these compare bytes, whatever the collation
WHERE c.opcname NOT LIKE '%pattern\_ops' AND (m.amname <> 'hash' OR NOT o.collisdeterministic)
ORDER BY i.oid)
UNION ALL
-- range partitions: rows may lie in another partition than the one in which they are looked for;
-- pg_get_partition_constraintdef would run functions of the key with the rights of this login
SELECT format('%I.%I', n.nspname, c.relname), 1, 'high', g.collation, g.before, g.now, g.refresh,
       CASE WHEN p.partnatts = 1 AND a.attname IS NOT NULL
            THEN format('move the rows that no longer fit: SELECT * FROM %I.%I WHERE NOT (%s);', n.nspname, c.relname,
                        concat_ws(' AND ', format('%I >= ', a.attname) || nullif(b.bounds[1], 'MINVALUE'),
                                  format('%I < ', a.attname) || nullif(b.bounds[2], 'MAXVALUE')))
            ELSE 'move the rows that no longer fit its bound: ' || pg_catalog.pg_get_expr(c.relpartbound, c.oid) END
FROM pg_catalog.pg_partitioned_table p
CROSS JOIN LATERAL unnest(p.partcollation::oid[]) AS k (collation_id)
JOIN changed g ON g.oid = k.collation_id
JOIN pg_catalog.pg_inherits h ON h.inhparent = p.partrelid
JOIN pg_catalog.pg_class c ON c.oid = h.inhrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0] AND a.attnum > 0
CROSS JOIN LATERAL regexp_match(pg_catalog.pg_get_expr(c.relpartbound, c.oid), '^FOR VALUES FROM \((.*)\) TO \((.*)\)$') AS b (bounds)
WHERE p.partstrat = 'r' AND b.bounds IS NOT NULL AND b.bounds <> '{MINVALUE,MAXVALUE}'
UNION ALL
-- constraints that name the collation; one that compares by a column's own is not recorded as depending on it
SELECT format('%I.%I %I', n.nspname, c.relname, k.conname), 1, 'high', g.collation, g.before, g.now, g.refresh,
       format('correct the rows that no longer fit: SELECT * FROM %I.%I WHERE NOT (%s);', n.nspname, c.relname,
              pg_catalog.pg_get_expr(k.conbin, k.conrelid))
FROM pg_catalog.pg_constraint k
JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_constraint'::regclass AND d.objid = k.oid
 AND d.refclassid = 'pg_catalog.pg_collation'::regclass
JOIN changed g ON g.oid = d.refobjid
JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE k.contype = 'c'
) found
ORDER BY object
