-- The owners of the tables, and whether the login has rights on relations of each: by its own
-- ownership or membership, or by a grant to it. Rights of PUBLIC are everybody's, and what is granted
-- to an owner is that owner's, not the login's.
WITH mine AS (
  SELECT o.oid
  FROM pg_catalog.pg_roles o
  WHERE pg_catalog.pg_has_role(session_user, o.oid, 'MEMBER')
), object AS (
  SELECT c.relowner AS owner, c.relacl AS acl, c.relkind IN ('r', 'p') AS is_table
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.relpersistence <> 't'
    AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'sereno')
  UNION ALL
  SELECT c.relowner, a.attacl, false
  FROM pg_catalog.pg_attribute a
  JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE a.attacl IS NOT NULL AND c.relpersistence <> 't'
    AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'sereno')
)
SELECT r.rolname::text AS name,
       r.rolsuper AS superuser,
       bool_or(o.is_table) AS has_tables,
       bool_or(o.owner IN (SELECT oid FROM mine)
               OR %(grants)s AND EXISTS (SELECT FROM pg_catalog.aclexplode(o.acl) a
                                         WHERE a.grantee IN (SELECT oid FROM mine))) AS reached
FROM object o
JOIN pg_catalog.pg_roles r ON r.oid = o.owner
GROUP BY 1, 2
ORDER BY 1
