-- The functions of the extension amcheck that verify one object, with their signature for GRANT, and
-- whether this login may execute them.
SELECT n.nspname AS schema, p.proname AS name, p.pronargs AS arguments,
       format('%I.%I(%s)', n.nspname, p.proname, pg_catalog.oidvectortypes(p.proargtypes))
         AS signature,
       pg_catalog.has_function_privilege(p.oid, 'EXECUTE') AS executable
FROM pg_catalog.pg_extension e
JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_extension'::regclass
 AND d.refobjid = e.oid AND d.classid = 'pg_catalog.pg_proc'::regclass AND d.deptype = 'e'
JOIN pg_catalog.pg_proc p ON p.oid = d.objid
JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE e.extname = 'amcheck'
  AND p.proname IN ('bt_index_check', 'verify_heapam', 'gin_index_check')
ORDER BY signature
