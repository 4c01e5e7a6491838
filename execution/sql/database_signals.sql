-- The signals that throttle a run in this database alone; empty where there is nothing.
SELECT coalesce((SELECT format('pg_dump, pid %s', pid) FROM pg_catalog.pg_stat_activity
                 WHERE application_name = 'pg_dump' AND datname = current_database() LIMIT 1),
                '') AS dump,
       -- any user can take an advisory lock: only a login of sereno counts
       coalesce((SELECT format('a migration, pid %s', l.pid)
                 FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a USING (pid)
                 WHERE l.locktype = 'advisory' AND l.granted
                   AND l.classid = {lock_class} AND l.objid = {changes}
                   AND l.database = (SELECT oid FROM pg_catalog.pg_database
                                     WHERE datname = current_database())
                   AND (a.usename = session_user OR pg_catalog.has_schema_privilege(
                          a.usesysid, to_regnamespace('sereno')::oid, 'USAGE'))
                 LIMIT 1), '') AS migration
