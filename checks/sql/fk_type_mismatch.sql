-- title   = "A foreign key compares columns of different types"
-- summary = "{column} is {own}, {parent} is {other}"
-- remedy  = "in a migration: ALTER TABLE {table} ALTER COLUMN {name} TYPE {other}; (rewrites the table under an exclusive lock)"
-- es.title   = "Una clave foránea compara columnas de tipos distintos"
-- es.summary = "{column} es {own}, {parent} es {other}"
-- es.remedy  = "en una migración: ALTER TABLE {table} ALTER COLUMN {name} TYPE {other}; (reescribe la tabla con bloqueo exclusivo)"
-- source  = "pg_constraint; domains count as their base types, text and varchar as one type"
WITH RECURSIVE base (oid, type) AS (
  SELECT oid, CASE oid WHEN 'varchar'::regtype THEN 'text'::regtype::oid ELSE oid END
  FROM pg_catalog.pg_type WHERE typtype <> 'd'
  UNION ALL
  SELECT d.oid, base.type FROM base JOIN pg_catalog.pg_type d ON d.typbasetype = base.oid AND d.typtype = 'd'
)
SELECT format('%I.%I.%I', n.nspname, c.relname, k.conname) AS object, 1 AS value,
       -- a narrower column cannot take every key
       CASE WHEN own.type IN ('int2'::regtype, 'int4'::regtype) AND other.type IN ('int4'::regtype, 'int8'::regtype)
              AND own.type <> other.type AND NOT (own.type = 'int4'::regtype AND other.type = 'int2'::regtype)
            THEN 'warning' ELSE 'info' END AS severity,
       format('%I.%I', n.nspname, c.relname) AS "table", quote_ident(a.attname) AS name,
       format('%I.%I.%I', n.nspname, c.relname, a.attname) AS "column", pg_catalog.format_type(a.atttypid, a.atttypmod) AS own,
       format('%I.%I.%I', pn.nspname, p.relname, b.attname) AS parent, pg_catalog.format_type(b.atttypid, b.atttypmod) AS other
FROM pg_catalog.pg_constraint k
JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_class p ON p.oid = k.confrelid
JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace
CROSS JOIN LATERAL (
  SELECT a.*, u.parent_number
  FROM unnest(k.conkey, k.confkey) AS u (number, parent_number)
  JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.number
) a
JOIN pg_catalog.pg_attribute b ON b.attrelid = k.confrelid AND b.attnum = a.parent_number
JOIN base own ON own.oid = a.atttypid
JOIN base other ON other.oid = b.atttypid
WHERE k.contype = 'f' AND k.conparentid = 0 AND c.relpersistence <> 't' AND own.type <> other.type
ORDER BY 1
