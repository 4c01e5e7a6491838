-- title   = "Rows lie in the default partition of a table by range"
-- summary = "about {rows} rows of {parent} fit none of its partitions"
-- remedy  = "make a table like {object}, move the rows of a range into it, and attach it to {parent} for that range"
-- es.title   = "Hay filas en la partición por defecto de una tabla por rangos"
-- es.summary = "unas {rows} filas de {parent} no caben en ninguna de sus particiones"
-- es.remedy  = "crear una tabla como {object}, mover a ella las filas de un rango y adjuntarla a {parent} para ese rango"
-- source  = "PostgreSQL manual, 5.11.2; often meant, so it is only said; where the partitions end, partition_missing warns"
SELECT format('%I.%I', n.nspname, c.relname) AS object, c.reltuples::float8 AS value, 'info' AS severity,
       c.reltuples::bigint AS rows, format('%I.%I', pn.nspname, t.relname) AS parent
FROM pg_catalog.pg_partitioned_table p
JOIN pg_catalog.pg_class c ON c.oid = p.partdefid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_class t ON t.oid = p.partrelid
JOIN pg_catalog.pg_namespace pn ON pn.oid = t.relnamespace
WHERE p.partstrat = 'r' AND c.reltuples > 0
ORDER BY 2 DESC, 1
