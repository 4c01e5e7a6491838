-- title  = "A sequence is nearly exhausted"
-- reads  = "rows"
-- option.warning  = { default = 0.75, help = "share of the numbers used" }
-- option.high     = { default = 0.90, help = "share of the numbers used" }
-- option.critical = { default = 0.97, help = "share of the numbers used" }
-- remedy = "widen {column} to bigint (ALTER TABLE … ALTER COLUMN … TYPE bigint rewrites the table: plan a migration)"
-- source = "PostgreSQL manual, CREATE SEQUENCE; the limit that counts is the narrower of sequence and column"
WITH sequence AS (
  SELECT c.oid, n.nspname, c.relname, s.seqincrement, s.seqmin, s.seqmax,
         CASE WHEN pg_catalog.has_sequence_privilege(c.oid, 'SELECT,USAGE')
              THEN pg_catalog.pg_sequence_last_value(c.oid) END AS last_value,
         owner.refobjid, owner.refobjsubid
  FROM pg_catalog.pg_sequence s
  JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_catalog.pg_depend owner
    ON owner.classid = 'pg_catalog.pg_class'::regclass AND owner.objid = c.oid
   AND owner.refclassid = 'pg_catalog.pg_class'::regclass AND owner.deptype IN ('a', 'i')
  WHERE NOT s.seqcycle AND n.nspname !~ '^pg_temp_' AND n.nspname <> 'sereno'
), reach AS (
  SELECT q.*, CASE a.atttypid WHEN 'int2'::regtype THEN 32767::numeric WHEN 'int4'::regtype THEN 2147483647
                              ELSE q.seqmax END AS widest,
         CASE WHEN a.attname IS NULL THEN 'the column it feeds'
              ELSE format('%I.%I.%I', tn.nspname, t.relname, a.attname) END AS "column"
  FROM sequence q
  LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = q.refobjid AND a.attnum = q.refobjsubid
  LEFT JOIN pg_catalog.pg_class t ON t.oid = q.refobjid
  LEFT JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
), used AS (
  SELECT *, CASE WHEN seqincrement > 0
                 THEN (last_value::numeric - seqmin + 1) / (least(seqmax, widest) - seqmin + 1)
                 ELSE (seqmax - last_value::numeric + 1) / (seqmax::numeric - seqmin + 1) END AS share
  FROM reach WHERE last_value IS NOT NULL
)
SELECT format('%I.%I', nspname, relname) AS object,
       round(share, 4)::float8 AS value,
       format('%s %% used: at %s of %s', round(share * 100, 1), last_value,
              CASE WHEN seqincrement > 0 THEN least(seqmax, widest) ELSE seqmin END) AS summary,
       "column"
FROM used
WHERE share >= least(:warning, :high, :critical)
UNION ALL
SELECT format('%I.%I', nspname, relname), NULL, 'not checked: no privilege', NULL
FROM sequence WHERE NOT pg_catalog.has_sequence_privilege(oid, 'SELECT,USAGE')
ORDER BY 2 DESC, 1
