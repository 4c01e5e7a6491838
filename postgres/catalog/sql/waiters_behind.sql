-- Our backends that must give way: another session waits for their lock, or they wait themselves.
SELECT ours.pid AS pid,
       format('pid %s (%s) waits for its lock',
              w.pid, coalesce(nullif(a.application_name, ''), 'no name')) AS why
FROM pg_catalog.pg_locks w
LEFT JOIN pg_catalog.pg_stat_activity a USING (pid)
CROSS JOIN LATERAL unnest(pg_catalog.pg_blocking_pids(w.pid)) ours (pid)
WHERE NOT w.granted
  -- a migration is never behind another worker for long: its tries are short, and worth a VACUUM
  AND (coalesce(a.application_name, '') NOT LIKE 'sereno/%' OR a.application_name = 'sereno/migrate')
  -- a backend that waits for a relation lock itself ends soon by lock_timeout; a wait for an old
  -- snapshot does not
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_locks o
                  WHERE o.pid = ours.pid AND NOT o.granted AND o.locktype = 'relation')
UNION ALL
SELECT w.pid, 'it waits for a lock itself'
FROM pg_catalog.pg_locks w
JOIN pg_catalog.pg_stat_activity a USING (pid)
WHERE NOT w.granted
  AND w.locktype = 'relation'
  AND a.application_name LIKE 'sereno/%'
  AND a.application_name <> 'sereno/migrate'
  AND w.waitstart < clock_timestamp() - interval '0.4 s' -- autovacuum yields after 1 s
