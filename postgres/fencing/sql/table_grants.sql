-- The tables, views and sequences of the database, with their owners.
SELECT n.nspname::text AS schema, c.relname::text AS name, o.rolname::text AS owner,
       o.rolsuper AS superuser, c.relkind = 'S' AS is_sequence,
       pg_catalog.pg_has_role(o.oid, 'MEMBER') AS may,
       ARRAY(SELECT r.rolname::text
             FROM pg_catalog.aclexplode(c.relacl) a
             JOIN pg_catalog.pg_roles r ON r.oid = a.grantee
             UNION
             SELECT r.rolname::text
             FROM pg_catalog.pg_attribute t
             CROSS JOIN LATERAL pg_catalog.aclexplode(t.attacl) a
             JOIN pg_catalog.pg_roles r ON r.oid = a.grantee
             WHERE t.attrelid = c.oid) AS grantees
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_roles o ON o.oid = c.relowner
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.relpersistence <> 't'
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'sereno')
  AND n.nspname !~ '^pg_toast'
ORDER BY 1, 2
