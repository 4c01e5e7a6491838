-- title   = "A table has row-level policies that are not enabled"
-- summary = "{policies} policies exist, and row-level security is off: everybody with rights on the table sees all rows"
-- remedy  = "ALTER TABLE {object} ENABLE ROW LEVEL SECURITY;"
-- es.title   = "Una tabla tiene políticas por fila sin activar"
-- es.summary = "hay {policies} políticas y la seguridad por fila está desactivada: quien tenga derechos sobre la tabla ve todas las filas"
-- es.remedy  = "ALTER TABLE {object} ENABLE ROW LEVEL SECURITY;"
-- source  = "PostgreSQL manual, 5.9"
SELECT format('%I.%I', n.nspname, c.relname) AS object, count(*) AS value, 'high' AS severity, count(*) AS policies
FROM pg_catalog.pg_policy p
JOIN pg_catalog.pg_class c ON c.oid = p.polrelid AND NOT c.relrowsecurity
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
GROUP BY n.nspname, c.relname
ORDER BY 1
