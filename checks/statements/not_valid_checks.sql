-- CHECK constraints that are NOT VALID, and whether their expression is safe to evaluate: it is made
-- of immutable functions of the server only.
SELECT c.conname AS name,
       n.nspname AS schema,
       r.relname AS "table",
       pg_catalog.pg_get_expr(c.conbin, c.conrelid) AS expression,
       pg_catalog.has_table_privilege(r.oid, 'SELECT')
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
WHERE c.contype = 'c' AND NOT c.convalidated AND c.conparentid = 0 AND r.relpersistence <> 't'
ORDER BY schema, "table", name
