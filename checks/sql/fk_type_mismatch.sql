-- title   = "A foreign key compares columns of different types"
-- summary = "{columns}"
-- remedy  = "in a migration: {cure} (rewrites the table under an exclusive lock)"
-- es.title   = "Una clave foránea compara columnas de tipos distintos"
-- es.summary = "{columns}"
-- es.remedy  = "en una migración: {cure} (reescribe la tabla con bloqueo exclusivo)"
-- source  = "pg_constraint; domains count as their base types, text and varchar as one type"
WITH RECURSIVE base (oid, type) AS (
  SELECT oid, CASE oid WHEN 'varchar'::regtype THEN 'text'::regtype::oid ELSE oid END
  FROM pg_catalog.pg_type WHERE typtype <> 'd'
  UNION ALL
  SELECT d.oid, base.type FROM base JOIN pg_catalog.pg_type d ON d.typbasetype = base.oid AND d.typtype = 'd'
)
SELECT format('%I.%I.%I', n.nspname, c.relname, k.conname) AS object, count(*) AS value,
       -- a narrower column cannot take every key
       CASE WHEN bool_or(own.type = 'int2'::regtype AND other.type IN ('int4'::regtype, 'int8'::regtype)
                         OR own.type = 'int4'::regtype AND other.type = 'int8'::regtype)
            THEN 'warning' ELSE 'info' END AS severity,
       string_agg(format('%I.%I.%I (%s) → %I.%I.%I (%s)', n.nspname, c.relname, a.attname,
                         pg_catalog.format_type(a.atttypid, a.atttypmod), pn.nspname, p.relname, b.attname,
                         pg_catalog.format_type(b.atttypid, b.atttypmod)), ', ' ORDER BY u.place) AS columns,
       format('ALTER TABLE %I.%I ', n.nspname, c.relname)
       || string_agg(format('ALTER COLUMN %I TYPE %s', a.attname, pg_catalog.format_type(b.atttypid, b.atttypmod)),
                     ', ' ORDER BY u.place) || ';' AS cure
FROM pg_catalog.pg_constraint k
JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_class p ON p.oid = k.confrelid
JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace
CROSS JOIN LATERAL unnest(k.conkey, k.confkey) WITH ORDINALITY AS u (number, parent_number, place)
JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.number
JOIN pg_catalog.pg_attribute b ON b.attrelid = k.confrelid AND b.attnum = u.parent_number
JOIN base own ON own.oid = a.atttypid
JOIN base other ON other.oid = b.atttypid
WHERE k.contype = 'f' AND k.conparentid = 0 AND c.relpersistence <> 't' AND own.type <> other.type
GROUP BY k.oid, n.nspname, c.relname, k.conname
ORDER BY 1
