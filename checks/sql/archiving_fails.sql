-- title   = "WAL is not archived"
-- scope   = "cluster"
-- summary = "archiving has failed for {seconds} s, last with {wal}: new backups cannot be restored to now"
-- remedy  = "run archive_command by hand as the server's user for {wal}, and correct what it says"
-- es.title   = "El WAL no se archiva"
-- es.summary = "el archivado falla desde hace {seconds} s, por último con {wal}: no se puede restaurar hasta ahora"
-- es.remedy  = "ejecutar archive_command a mano como usuario del servidor para {wal} y corregir lo que indique"
-- option.high     = { default = 300, help = "seconds since the last file that was archived" }
-- option.critical = { default = 3600, help = "seconds since the last file that was archived" }
-- source  = "PostgreSQL manual, 25.3.1; pg_stat_archiver"
SELECT 'archive_command' AS object,
       round(extract(epoch FROM now() - coalesce(last_archived_time, stats_reset)))::float8 AS value,
       round(extract(epoch FROM now() - coalesce(last_archived_time, stats_reset))) AS seconds,
       last_failed_wal AS wal
FROM pg_catalog.pg_stat_archiver
WHERE current_setting('archive_mode') <> 'off'
  AND last_failed_time > coalesce(last_archived_time, '-infinity')
  AND now() - coalesce(last_archived_time, stats_reset) >= make_interval(secs => least(:high, :critical))
