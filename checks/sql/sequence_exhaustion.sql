-- title  = "A sequence is nearly exhausted"
-- reads  = "rows"
-- option.warning  = { default = 0.75, help = "share of the numbers used" }
-- option.high     = { default = 0.90, help = "share of the numbers used" }
-- option.critical = { default = 0.97, help = "share of the numbers used" }
-- option.days_warning  = { default = 180, help = "days left at the pace of the last week, from 30 % on" }
-- option.days_high     = { default = 60, help = "days left" }
-- option.days_critical = { default = 14, help = "days left" }
-- forecast = true
-- summary = "{percent} % used: at {last} of {most} {place}{days_left}"
-- remedy = "{cure}"
-- es.title = "Una secuencia está por agotarse"
-- es.summary = "{percent} % usado: en {last} de {most} {place}{days_left_es}"
-- es.remedy = "{cure}"
-- source = "PostgreSQL manual, CREATE SEQUENCE; the limit that counts is the narrower of the sequence and of the columns that take its numbers, by ownership or by default"
WITH RECURSIVE base (oid, type) AS (
  SELECT oid, oid FROM pg_catalog.pg_type WHERE typtype <> 'd'
  UNION ALL
  SELECT d.oid, base.type FROM base JOIN pg_catalog.pg_type d ON d.typbasetype = base.oid AND d.typtype = 'd'
), sequence AS (
  SELECT c.oid, n.nspname, c.relname, s.seqtypid, s.seqincrement > 0 AS rises,
         s.seqmin::numeric, s.seqmax::numeric,
         CASE WHEN pg_catalog.has_sequence_privilege(c.oid, 'SELECT,USAGE')
              THEN pg_catalog.pg_sequence_last_value(c.oid)::numeric END AS last_value
  FROM pg_catalog.pg_sequence s
  JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE NOT s.seqcycle AND n.nspname !~ '^pg_temp_' AND n.nspname <> 'sereno'
), taken_by (oid, relation, number) AS (
  SELECT objid, refobjid, refobjsubid FROM pg_catalog.pg_depend
  WHERE classid = 'pg_catalog.pg_class'::regclass AND refclassid = 'pg_catalog.pg_class'::regclass
    AND deptype IN ('a', 'i') AND refobjsubid > 0
  UNION
  SELECT d.refobjid, a.adrelid, a.adnum FROM pg_catalog.pg_depend d
  JOIN pg_catalog.pg_attrdef a ON a.oid = d.objid
  WHERE d.classid = 'pg_catalog.pg_attrdef'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass
), fed AS (
  SELECT DISTINCT ON (b.oid) b.oid, a.attidentity <> '' AS identity, width.bits,
         format('%I.%I', n.nspname, t.relname) AS "table", format('%I', a.attname) AS name
  FROM taken_by b
  JOIN pg_catalog.pg_attribute a ON a.attrelid = b.relation AND a.attnum = b.number
  JOIN pg_catalog.pg_class t ON t.oid = b.relation AND t.relkind IN ('r', 'p')
  JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
  JOIN base ON base.oid = a.atttypid
  CROSS JOIN LATERAL (SELECT CASE base.type WHEN 'int2'::regtype THEN 15 WHEN 'int4'::regtype THEN 31
                                            ELSE 63 END AS bits) width
  ORDER BY b.oid, width.bits, t.relispartition, b.relation, b.number
), reach AS (
  SELECT q.*, f.bits, f.identity, f."table", f.name,
         CASE WHEN q.rises THEN least(q.seqmax, 2::numeric ^ coalesce(f.bits, 63) - 1)
              ELSE greatest(q.seqmin, -(2::numeric ^ coalesce(f.bits, 63))) END AS last_number
  FROM sequence q LEFT JOIN fed f ON f.oid = q.oid
), used AS (
  SELECT *, format('%I.%I', nspname, relname) AS object,
         -- whether the limit was chosen for the sequence, and is not that of a type
         CASE WHEN rises THEN last_number = seqmax AND seqmax < 2::numeric ^ own_bits - 1
              ELSE last_number = seqmin AND seqmin > -(2::numeric ^ own_bits) END AS chosen,
         CASE WHEN rises AND last_number >= seqmin THEN (last_value - seqmin + 1) / (last_number - seqmin + 1)
              WHEN NOT rises AND last_number <= seqmax THEN (seqmax - last_value + 1) / (seqmax - last_number + 1)
              ELSE 1 END AS share
  FROM reach
  CROSS JOIN LATERAL (SELECT CASE seqtypid WHEN 'int2'::regtype THEN 15 WHEN 'int4'::regtype THEN 31
                                           ELSE 63 END AS bits) AS own (own_bits)
  WHERE last_value IS NOT NULL
)
SELECT object,
       round(share, 4)::float8 AS value,
       trunc(share * 100, 1) AS percent, last_value AS last, round(last_number) AS most,
       coalesce('(' || "table" || '.' || name || ')', '') AS place,
       CASE WHEN chosen AND rises THEN format('ALTER SEQUENCE %s NO MAXVALUE;', object)
            WHEN chosen THEN format('ALTER SEQUENCE %s NO MINVALUE;', object)
            ELSE concat_ws(' ',
              CASE WHEN bits < 63 THEN format('ALTER TABLE %s ALTER COLUMN %s TYPE bigint; (rewrites the table '
                                              'under an exclusive lock: plan a migration)', "table", name) END,
              CASE WHEN seqtypid <> 'int8'::regtype AND NOT coalesce(identity AND bits < 63, false)
                   THEN format('ALTER SEQUENCE %s AS bigint;', object) END) END AS cure,
       CASE WHEN rises THEN last_value ELSE -last_value END AS level,
       CASE WHEN rises THEN last_number ELSE -last_number END AS "limit", NULL AS summary
FROM used
WHERE share >= least(:warning, :high, :critical, 0.3)
UNION ALL
SELECT format('%I.%I', nspname, relname), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'not checked: no privilege'
FROM sequence WHERE NOT pg_catalog.has_sequence_privilege(oid, 'SELECT,USAGE')
ORDER BY 2 DESC, 1
