-- title  = "Pages with wrong checksums were read"
-- scope  = "cluster"
-- option.critical = { default = 1, help = "failed pages since the statistics were reset" }
-- summary = "{pages} failed pages, the last at {last}"
-- remedy = "stop writing, keep a copy of the data directory, examine the disk; restore from a verified backup"
-- es.title = "Se leyeron páginas con suma de verificación errónea"
-- es.summary = "{pages} páginas erróneas, la última el {last}"
-- es.remedy = "dejar de escribir, guardar una copia del directorio de datos y examinar el disco; restaurar desde una copia verificada"
-- source = "PostgreSQL manual, 28.2 Data Checksums; pg_stat_database"
SELECT format('%I', coalesce(datname, 'shared objects')) AS object,
       checksum_failures AS value,
       checksum_failures AS pages, checksum_last_failure AS last
FROM pg_catalog.pg_stat_database
WHERE checksum_failures >= :critical
ORDER BY 2 DESC, 1
