-- The oldest transaction id that a session, prepared transaction or slot keeps visible, and its holder.
SELECT who, xid
FROM (
  SELECT format('pid %s (%s, %s), %s for %s s',
                pid, coalesce(usename, backend_type), coalesce(nullif(application_name, ''), 'no name'),
                coalesce(state, 'busy'),
                round(extract(epoch FROM clock_timestamp() - coalesce(xact_start, backend_start)))) AS who,
         CASE WHEN age(backend_xmin) >= coalesce(age(backend_xid), 0)
              THEN backend_xmin ELSE backend_xid END AS xid
  FROM pg_catalog.pg_stat_activity
  WHERE (datname = current_database() OR backend_type = 'walsender')
    AND pid <> pg_backend_pid()
    -- a VACUUM does not hold back others
    AND pid NOT IN (SELECT pid FROM pg_catalog.pg_stat_progress_vacuum)
  UNION ALL
  SELECT format('prepared transaction %L of %s, since %s',
                gid, owner, to_char(prepared, 'YYYY-MM-DD HH24:MI TZ')),
         transaction
  FROM pg_catalog.pg_prepared_xacts
  WHERE database = current_database()
  UNION ALL
  SELECT format('replication slot %I (%s)',
                slot_name, CASE WHEN active THEN 'active' ELSE 'no consumer' END),
         xmin
  FROM pg_catalog.pg_replication_slots
) holder
WHERE age(xid) > 0
ORDER BY age(xid) DESC
LIMIT 1
