-- title   = "The server listens to other hosts without TLS"
-- scope   = "cluster"
-- summary = "ssl is off, and the server listens on {object}: passwords and data pass in clear"
-- remedy  = "set ssl = on with a certificate (ssl_cert_file, ssl_key_file), and hostssl lines in pg_hba.conf"
-- es.title   = "El servidor atiende a otros equipos sin TLS"
-- es.summary = "ssl está desactivado y el servidor escucha en {object}: los datos pasan sin cifrar"
-- es.remedy  = "poner ssl = on con un certificado (ssl_cert_file, ssl_key_file) y líneas hostssl en pg_hba.conf"
-- source  = "PostgreSQL manual, 18.9"
SELECT current_setting('listen_addresses') AS object, 1 AS value, 'warning' AS severity
WHERE current_setting('ssl') = 'off'
  AND EXISTS (SELECT FROM regexp_split_to_table(current_setting('listen_addresses'), '\s*,\s*') AS one
              WHERE one NOT IN ('', 'localhost', '127.0.0.1', '::1'))
