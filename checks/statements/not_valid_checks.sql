-- CHECK and NOT NULL constraints of tables, and CHECK constraints of domains, that are NOT VALID;
-- and whether the rows of a table's may be counted: the expression is made of immutable functions of
-- the server only, and the table and what inherits from it belong to the trust domain. NOT ENFORCED
-- constraints (from 18 on) promise nothing.
WITH RECURSIVE tree (root, oid) AS (
  SELECT conrelid, conrelid FROM pg_catalog.pg_constraint
  WHERE contype IN ('c', 'n') AND conrelid <> 0 AND NOT convalidated
  UNION
  SELECT t.root, i.inhrelid FROM tree t JOIN pg_catalog.pg_inherits i ON i.inhparent = t.oid
)
SELECT c.conname AS name,
       n.nspname AS schema,
       r.relname AS "table",
       NULL AS domain,
       c.connoinherit AS "only",
       CASE c.contype
         WHEN 'n' THEN (SELECT format('%%I IS NOT NULL', a.attname) FROM pg_catalog.pg_attribute a
                        WHERE a.attrelid = c.conrelid AND a.attnum = c.conkey[1])
         ELSE pg_catalog.pg_get_expr(c.conbin, c.conrelid) END AS expression,
       (SELECT o.rolname::text FROM pg_catalog.pg_roles o WHERE o.oid = r.relowner) AS owner,
       pg_catalog.has_table_privilege(r.oid, 'SELECT')
         AND NOT pg_catalog.row_security_active(r.oid)
         AND NOT EXISTS (
           SELECT FROM tree t
           JOIN pg_catalog.pg_class c ON c.oid = t.oid
           JOIN pg_catalog.pg_roles o ON o.oid = c.relowner
           WHERE t.root = r.oid AND o.rolname::text <> ALL (%(owners)s))
         AND NOT EXISTS (
           SELECT FROM regexp_matches(c.conbin::text, '\{([A-Z]+)', 'g') node
           WHERE node[1] NOT IN ('VAR', 'CONST', 'OPEXPR', 'FUNCEXPR', 'BOOLEXPR', 'NULLTEST',
                                 'BOOLEANTEST', 'RELABELTYPE', 'SCALARARRAYOPEXPR', 'ARRAYEXPR',
                                 'ARRAY'))
         AND NOT EXISTS (
           SELECT FROM regexp_matches(c.conbin::text, ':(?:op)?funcid (\d+)', 'g') called
           WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_proc p
                             WHERE p.oid = called[1]::oid AND p.provolatile = 'i'
                               AND p.pronamespace = 'pg_catalog'::regnamespace)) AS countable
FROM pg_catalog.pg_constraint c
JOIN pg_catalog.pg_class r ON r.oid = c.conrelid
JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace
WHERE c.contype IN ('c', 'n') AND NOT c.convalidated AND c.coninhcount = 0
  AND coalesce((to_jsonb(c)->>'conenforced')::bool, true) AND r.relpersistence <> 't'
UNION ALL
SELECT c.conname, n.nspname, t.typname, format('%%I.%%I', n.nspname, t.typname), false, NULL,
       (SELECT o.rolname::text FROM pg_catalog.pg_roles o WHERE o.oid = t.typowner), false
FROM pg_catalog.pg_constraint c
JOIN pg_catalog.pg_type t ON t.oid = c.contypid
JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
WHERE NOT c.convalidated
ORDER BY schema, "table", name
