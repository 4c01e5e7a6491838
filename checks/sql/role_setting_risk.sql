-- title   = "A role or database has a setting that switches guards off"
-- scope   = "cluster"
-- summary = "{object} is set for {place}"
-- remedy  = "{cure}"
-- es.title   = "Un rol o una base tiene un parámetro que desactiva protecciones"
-- es.summary = "{object} está fijado para {place}"
-- es.remedy  = "{cure}"
-- source  = "PostgreSQL manual, ALTER ROLE, ALTER DATABASE; pg_db_role_setting"
SELECT format('%s of %s', name, place) AS object, 1 AS value, 'high' AS severity,
       name AS setting, place,
       format('ALTER %s RESET %I;', place, name) AS cure
FROM (
  SELECT split_part(config, '=', 1) AS name, split_part(config, '=', 2) AS setting,
         CASE WHEN s.setrole = 0 THEN format('DATABASE %I', d.datname)
              WHEN s.setdatabase = 0 THEN format('ROLE %I', r.rolname)
              ELSE format('ROLE %I IN DATABASE %I', r.rolname, d.datname) END AS place
  FROM pg_catalog.pg_db_role_setting s
  CROSS JOIN unnest(s.setconfig) AS config
  LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole
  LEFT JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase
) AS one
WHERE (name, setting) IN (('session_replication_role', 'replica'), ('zero_damaged_pages', 'on'),
                          ('ignore_checksum_failure', 'on'), ('ignore_system_indexes', 'on'),
                          ('allow_system_table_mods', 'on'), ('row_security', 'off'))
ORDER BY 1
