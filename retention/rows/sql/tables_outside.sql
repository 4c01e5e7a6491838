-- The tables of other owners that a deletion would reach. The server runs their code then.
WITH RECURSIVE {reached}
SELECT n.nspname::text AS schema, c.relname::text AS name, o.rolname::text AS owner
FROM reached r
JOIN pg_catalog.pg_class c ON c.oid = r.oid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_roles o ON o.oid = c.relowner
WHERE o.rolname::text <> ALL (%(owners)s)
ORDER BY 1, 2
