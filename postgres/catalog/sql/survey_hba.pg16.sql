-- The rules of pg_hba.conf and the files it includes, as the server has parsed them.
SELECT type AS kind, database AS databases, user_name AS users, address, netmask,
       auth_method AS method, error
FROM pg_catalog.pg_hba_file_rules
ORDER BY rule_number, file_name, line_number
