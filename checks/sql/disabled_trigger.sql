-- title   = "Triggers of a table are disabled"
-- summary = "{count} triggers are disabled: {names}"
-- remedy  = "{cure} then: sereno check foreign_keys"
-- es.title   = "Una tabla tiene disparadores desactivados"
-- es.summary = "{count} disparadores desactivados: {names}"
-- es.remedy  = "{cure} y luego: sereno check foreign_keys"
-- source  = "PostgreSQL manual, ALTER TABLE, DISABLE TRIGGER; those of a foreign key are internal triggers"
SELECT format('%I.%I', n.nspname, c.relname) AS object,
       count(*) AS value,
       CASE WHEN bool_or(t.tgisinternal) THEN 'high' ELSE 'warning' END AS severity,
       count(*) AS count,
       string_agg(DISTINCT coalesce(quote_ident(k.conname), quote_ident(t.tgname)), ', ') AS names,
       CASE WHEN bool_or(t.tgisinternal) THEN format('ALTER TABLE %I.%I ENABLE TRIGGER ALL;', n.nspname, c.relname)
            ELSE string_agg(format('ALTER TABLE %I.%I ENABLE TRIGGER %I;', n.nspname, c.relname, t.tgname), ' ') END AS cure
FROM pg_catalog.pg_trigger t
JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_constraint k ON k.oid = t.tgconstraint
WHERE t.tgenabled = 'D' AND n.nspname !~ '^pg_temp_'
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                  WHERE d.classid = 'pg_catalog.pg_trigger'::regclass AND d.objid = t.oid AND d.deptype = 'e')
GROUP BY n.nspname, c.relname
ORDER BY 2 DESC, 1
