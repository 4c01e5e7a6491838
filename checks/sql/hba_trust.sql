-- title   = "pg_hba.conf lets somebody in from another host without a safe password"
-- scope   = "cluster"
-- summary = "line {line} lets {users} into {databases} from {address} by {method}"
-- remedy  = "write scram-sha-256 in line {line} of {file}, then SELECT pg_reload_conf();"
-- es.title   = "pg_hba.conf deja entrar desde otro equipo sin contraseña segura"
-- es.summary = "la línea {line} deja entrar a {users} en {databases} desde {address} con {method}"
-- es.remedy  = "escribir scram-sha-256 en la línea {line} de {file} y luego SELECT pg_reload_conf();"
-- source  = "PostgreSQL manual, 20.4, 20.5; trust on this host alone is no finding"
SELECT format('line %s', line_number) AS object, 1 AS value,
       CASE WHEN auth_method = 'trust' AND current_setting('listen_addresses') NOT IN ('', 'localhost', '127.0.0.1')
            THEN 'critical' WHEN auth_method = 'trust' THEN 'high' ELSE 'warning' END AS severity,
       line_number AS line, array_to_string(user_name, ', ') AS users, array_to_string(database, ', ') AS databases,
       address || coalesce('/' || netmask, '') AS address, auth_method AS method, current_setting('hba_file') AS file
FROM pg_catalog.pg_hba_file_rules
WHERE error IS NULL AND type LIKE 'host%' AND type <> 'hostgssenc' AND auth_method IN ('trust', 'password', 'ident')
  AND address NOT IN ('127.0.0.1', '::1', 'localhost', 'samehost')
ORDER BY line_number
