-- The sessions whose locks are in the way, by table and conflicting mode; the oldest first.
SELECT DISTINCT ON (l.pid)
       w.name AS table, l.pid, coalesce(nullif(a.application_name, ''), a.backend_type, '') AS who,
       coalesce(extract(epoch FROM clock_timestamp() - a.xact_start), 0)::float8 AS seconds,
       a.backend_type = 'autovacuum worker' AS autovacuum,
       a.backend_type IS DISTINCT FROM 'autovacuum worker'
         AND (a.application_name = 'pg_dump' OR v.pid IS NOT NULL) AS patient
FROM unnest(%(tables)s::text[], %(modes)s::text[]) w (name, mode)
JOIN pg_catalog.pg_locks l ON l.relation = to_regclass(w.name) AND l.mode = w.mode
  AND l.locktype = 'relation' AND l.granted
  AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
LEFT JOIN pg_catalog.pg_stat_activity a USING (pid)
LEFT JOIN pg_catalog.pg_stat_progress_vacuum v ON v.pid = l.pid
WHERE l.pid IS DISTINCT FROM %(own)s
ORDER BY l.pid, a.xact_start
