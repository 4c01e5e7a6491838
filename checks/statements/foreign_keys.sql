-- The foreign keys that are validated, or those that are not, with their columns and equality
-- operators; whether both tables are readable and the columns are of types of the server or of an
-- extension; and an owner outside the trust domain, if any, of the tables or of what inherits from
-- them. NOT ENFORCED keys (from 18 on) promise nothing.
WITH RECURSIVE key AS MATERIALIZED (
  SELECT c.*, coalesce((to_jsonb(c)->>'conperiod')::bool, false) AS period -- from 18 on
  FROM pg_catalog.pg_constraint c
  JOIN pg_catalog.pg_class r ON r.oid = c.conrelid AND r.relpersistence <> 't'
  WHERE c.contype = 'f' AND c.convalidated = %(validated)s
    AND coalesce((to_jsonb(c)->>'conenforced')::bool, true) AND c.conparentid = 0
), base (oid, known) AS (
  SELECT t.oid, t.typnamespace = 'pg_catalog'::regnamespace
                OR EXISTS (SELECT FROM pg_catalog.pg_depend d
                           WHERE d.classid = 'pg_catalog.pg_type'::regclass AND d.objid = t.oid
                             AND d.deptype = 'e')
  FROM pg_catalog.pg_type t WHERE t.typtype <> 'd'
  UNION ALL
  SELECT d.oid, base.known
  FROM base JOIN pg_catalog.pg_type d ON d.typbasetype = base.oid AND d.typtype = 'd'
), tree (root, oid) AS (
  SELECT conrelid, conrelid FROM key UNION SELECT confrelid, confrelid FROM key
  UNION
  SELECT t.root, i.inhrelid FROM tree t JOIN pg_catalog.pg_inherits i ON i.inhparent = t.oid
), reach AS (
  SELECT t.root, sum(c.relpages)::bigint AS pages, count(*) AS relations,
         min(o.rolname::text) FILTER (WHERE o.rolname::text <> ALL (%(owners)s)) AS outsider
  FROM tree t
  JOIN pg_catalog.pg_class c ON c.oid = t.oid
  JOIN pg_catalog.pg_roles o ON o.oid = c.relowner
  GROUP BY t.root
), foreign_type AS (
  SELECT array_agg(b.oid) AS oids
  FROM (SELECT DISTINCT a.atttypid
        FROM (SELECT conrelid AS relation, unnest(conkey) AS number FROM key
              UNION SELECT confrelid, unnest(confkey) FROM key) k
        JOIN pg_catalog.pg_attribute a ON a.attrelid = k.relation AND a.attnum = k.number) used
  JOIN base b ON b.oid = used.atttypid AND NOT b.known
)
SELECT c.conname AS name, c.confmatchtype = 'f' AS match_full, c.period,
       NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a
                   WHERE a.atttypid = ANY ((SELECT oids FROM foreign_type)::oid[])
                     AND (a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey)
                          OR a.attrelid = c.confrelid AND a.attnum = ANY (c.confkey))) AS plain,
       cr.relkind <> 'p' AS child_only, pr.relkind <> 'p' AS parent_only,
       cn.nspname AS child_schema, cr.relname AS child_name,
       pn.nspname AS parent_schema, pr.relname AS parent_name,
       ARRAY(SELECT a.attname::text
             FROM unnest(c.conkey) WITH ORDINALITY k (number, place)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.number
             ORDER BY k.place) AS child_columns,
       ARRAY(SELECT a.attname::text
             FROM unnest(c.confkey) WITH ORDINALITY k (number, place)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = k.number
             ORDER BY k.place) AS parent_columns,
       ARRAY(SELECT ARRAY[n.nspname::text, o.oprname::text]
             FROM unnest(c.conpfeqop) WITH ORDINALITY k (oid, place)
             JOIN pg_catalog.pg_operator o ON o.oid = k.oid
             JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
             ORDER BY k.place) AS operators,
       (SELECT o.rolname::text FROM pg_catalog.pg_roles o WHERE o.oid = cr.relowner) AS owner,
       rc.pages, rp.pages AS parent_pages, rc.relations + rp.relations AS relations, least(rc.outsider, rp.outsider) AS outside,
       pg_catalog.row_security_active(c.conrelid)
         OR pg_catalog.row_security_active(c.confrelid) AS hidden,
       pg_catalog.has_table_privilege(c.conrelid, 'SELECT')
         AND pg_catalog.has_table_privilege(c.confrelid, 'SELECT') AS readable
FROM key c
JOIN pg_catalog.pg_class cr ON cr.oid = c.conrelid
JOIN pg_catalog.pg_namespace cn ON cn.oid = cr.relnamespace
JOIN pg_catalog.pg_class pr ON pr.oid = c.confrelid
JOIN pg_catalog.pg_namespace pn ON pn.oid = pr.relnamespace
JOIN reach rc ON rc.root = c.conrelid
JOIN reach rp ON rp.root = c.confrelid
ORDER BY child_schema, child_name, name
