-- title  = "Pages with wrong checksums were read"
-- scope  = "cluster"
-- option.critical = { default = 1, help = "failed pages since the statistics were reset" }
-- remedy = "stop writing, keep a copy of the data directory, examine the disk; restore from a verified backup"
-- source = "PostgreSQL manual, 28.2 Data Checksums; pg_stat_database"
SELECT format('%I', coalesce(datname, 'shared objects')) AS object,
       checksum_failures AS value,
       format('%s failed pages, the last at %s', checksum_failures, checksum_last_failure) AS summary
FROM pg_catalog.pg_stat_database
WHERE checksum_failures >= :critical
ORDER BY 2 DESC, 1
