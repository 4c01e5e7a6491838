-- title   = "Sessions end in deadlocks"
-- summary = "{per_day} deadlocks a day"
-- remedy  = "set log_lock_waits and look at the log: let all transactions lock rows in the same order"
-- es.title   = "Hay sesiones que terminan en interbloqueos"
-- es.summary = "{per_day} interbloqueos por día"
-- es.remedy  = "activar log_lock_waits y mirar el registro: que todas las transacciones bloqueen las filas en el mismo orden"
-- option.warning = { default = 10, help = "deadlocks per day, since the last run" }
-- per     = "day"
-- source  = "pg_stat_database; PostgreSQL manual, 13.3.4"
SELECT quote_ident(datname) AS object, deadlocks AS value
FROM pg_catalog.pg_stat_database
WHERE datname = current_database()
