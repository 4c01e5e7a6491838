-- title  = "An index is invalid: maintained by every write, used by no query"
-- summary = "{what}"
-- remedy = "{cure}"
-- es.title = "Un índice no es válido: lo mantiene cada escritura y no lo usa ninguna consulta"
-- es.summary = "índice no válido de {table}"
-- es.remedy = "{cure}"
-- source = "PostgreSQL manual, CREATE INDEX, Building Indexes Concurrently; ALTER INDEX, ATTACH PARTITION"
WITH invalid AS (
  SELECT x.indexrelid, x.indrelid, i.relkind, format('%I.%I', n.nspname, i.relname) AS object,
         format('%I.%I', tn.nspname, t.relname) AS "table"
  FROM pg_catalog.pg_index x
  JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = i.relnamespace
  JOIN pg_catalog.pg_class t ON t.oid = x.indrelid
  JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
  WHERE NOT (x.indisvalid AND x.indisready AND x.indislive)
    AND n.nspname !~ '^pg_temp_'
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_create_index p WHERE p.index_relid = x.indexrelid)
), partition AS ( -- of a table whose own index is invalid: its index that belongs to that one, if any
  SELECT v.indexrelid AS parent, format('%I.%I', n.nspname, c.relname) AS name,
         (SELECT format('%I.%I', xn.nspname, xi.relname) FROM pg_catalog.pg_index x
          JOIN pg_catalog.pg_inherits h ON h.inhrelid = x.indexrelid AND h.inhparent = v.indexrelid
          JOIN pg_catalog.pg_class xi ON xi.oid = x.indexrelid
          JOIN pg_catalog.pg_namespace xn ON xn.oid = xi.relnamespace
          WHERE x.indrelid = c.oid AND x.indisvalid) AS attached
  FROM invalid v
  JOIN pg_catalog.pg_inherits i ON i.inhparent = v.indrelid
  JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid AND c.relkind <> 'f'
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE v.relkind = 'I'
), lacking AS (
  SELECT parent, count(*) FILTER (WHERE attached IS NULL) AS missing, min(attached) AS attached,
         min(name) FILTER (WHERE attached IS NULL) AS without
  FROM partition GROUP BY parent
)
SELECT object,
       bytes AS value,
       'warning' AS severity,
       CASE WHEN relkind <> 'I' THEN format('invalid index on %s, %s: left by a failed concurrent build',
                                            "table", pg_catalog.pg_size_pretty(bytes))
            WHEN missing > 0 THEN format('index of the partitioned table %s is invalid: no valid index of it on %s%s',
                                         "table", without,
                                         CASE WHEN missing > 1 THEN format(' (and %s more)', missing - 1) ELSE '' END)
            ELSE format('index of the partitioned table %s is invalid, although that of each partition is valid',
                        "table") END AS what,
       "table",
       CASE WHEN relkind <> 'I' THEN format('REINDEX INDEX CONCURRENTLY %1$s; (or DROP INDEX CONCURRENTLY %1$s;)', object)
            WHEN missing > 0 THEN format('create the same index on %s CONCURRENTLY (or REINDEX the invalid one), then: '
                                         'ALTER INDEX %s ATTACH PARTITION …;', without, object)
            WHEN attached IS NOT NULL THEN format('ALTER INDEX %s ATTACH PARTITION %s; (again: the server then looks '
                                                  'at all of them)', object, attached)
            ELSE format('DROP INDEX %s; and create it again', object) END AS cure
FROM invalid
LEFT JOIN lacking ON parent = indexrelid
CROSS JOIN LATERAL (SELECT pg_catalog.pg_relation_size(indexrelid) AS bytes) size
ORDER BY 2 DESC, 1
