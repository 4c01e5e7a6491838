-- title   = "Queries write much to temporary files"
-- summary = "{per_day_size} a day ({files} files since the last reset)"
-- remedy  = "set log_temp_files = '100MB' and look at the log; raise work_mem for the roles of those queries: ALTER ROLE … SET work_mem"
-- es.title   = "Las consultas escriben mucho en archivos temporales"
-- es.summary = "{per_day_size} por día ({files} archivos desde el último reinicio de estadísticas)"
-- es.remedy  = "poner log_temp_files = '100MB' y mirar el registro; subir work_mem a los roles de esas consultas: ALTER ROLE … SET work_mem"
-- option.warning = { default = 10737418240, help = "bytes per day, since the last run" }
-- option.high = { default = 1099511627776, help = "bytes per day, since the last run" }
-- per     = "day"
-- source  = "pg_stat_database; PostgreSQL manual, 19.4.1 work_mem"
SELECT quote_ident(datname) AS object, temp_bytes AS value, temp_files AS files
FROM pg_catalog.pg_stat_database
WHERE datname = current_database()
