-- title   = "The detach of a partition was interrupted"
-- summary = "{object} is half detached from {parent}: no other detach of it is possible"
-- remedy  = "ALTER TABLE {parent} DETACH PARTITION {object} FINALIZE;"
-- es.title   = "Se interrumpió la separación de una partición"
-- es.summary = "{object} está separada a medias de {parent}: no se puede separar otra"
-- es.remedy  = "ALTER TABLE {parent} DETACH PARTITION {object} FINALIZE;"
-- source  = "PostgreSQL manual, ALTER TABLE, DETACH PARTITION CONCURRENTLY"
SELECT format('%I.%I', n.nspname, c.relname) AS object, 1 AS value, 'high' AS severity,
       format('%I.%I', pn.nspname, p.relname) AS parent
FROM pg_catalog.pg_inherits i
JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_class p ON p.oid = i.inhparent
JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace
WHERE i.inhdetachpending
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_locks l WHERE l.relation = i.inhparent AND l.mode = 'ShareUpdateExclusiveLock')
ORDER BY 1
