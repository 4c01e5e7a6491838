-- title   = "A replication slot retains WAL, or has lost it"
-- scope   = "cluster"
-- summary = "{what}"
-- remedy  = "bring its reader back, or: SELECT pg_drop_replication_slot({name});"
-- es.title   = "Una ranura de replicación retiene WAL, o lo ha perdido"
-- es.summary = "ranura {object}: estado {status}, retiene {size}"
-- es.remedy  = "recuperar su lector, o: SELECT pg_drop_replication_slot({name});"
-- option.bytes = { default = 1073741824, help = "inactive slots that retain less WAL are ignored" }
-- option.high_bytes = { default = 10737418240, help = "high from so much retained WAL on" }
-- needs   = ["pg_monitor"]
-- source  = "PostgreSQL manual, 26.2.6; pg_replication_slots"
SELECT format('%I', slot_name) AS object,
       retained::float8 AS value,
       CASE WHEN wal_status IN ('lost', 'unreserved') THEN 'critical'
            WHEN retained >= :high_bytes THEN 'high' ELSE 'warning' END AS severity,
       CASE WHEN wal_status = 'lost' THEN 'the WAL that its reader needs is gone: the reader must be made anew'
            WHEN wal_status = 'unreserved' THEN 'the WAL that its reader needs is about to be removed'
            ELSE format('inactive, and retains %s of WAL', pg_catalog.pg_size_pretty(retained)) END AS what,
       coalesce(wal_status, '') AS status, pg_catalog.pg_size_pretty(retained) AS size, quote_literal(slot_name) AS name
FROM pg_catalog.pg_replication_slots
CROSS JOIN LATERAL (SELECT coalesce(pg_catalog.pg_wal_lsn_diff(
  CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, restart_lsn), 0) AS retained) size
WHERE NOT temporary AND (wal_status IN ('lost', 'unreserved') OR NOT active AND retained >= :bytes)
ORDER BY 2 DESC, 1
