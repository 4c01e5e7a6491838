-- The settings of roles (in any database) and the end of their validity, as one text each.
SELECT r.rolname::text AS name,
       concat_ws('; ',
                 'VALID UNTIL ' || r.rolvaliduntil::text,
                 (SELECT string_agg(setting, '; ' ORDER BY setting)
                  FROM pg_catalog.pg_db_role_setting s
                  CROSS JOIN LATERAL unnest(s.setconfig) setting
                  WHERE s.setrole = r.oid)) AS settings
FROM pg_catalog.pg_roles r
WHERE r.rolname::text = ANY (%s)
