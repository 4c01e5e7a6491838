"""Who keeps VACUUM from removing dead rows of this database: the oldest snapshot that still sees them."""

from psycopg import sql

from postgres.connection import Session

_HOLDER = sql.SQL(
    """
    SELECT who FROM (
      SELECT format('pid %s (%s, %s), %s for %s s', pid, coalesce(usename, backend_type),
                    coalesce(nullif(application_name, ''), 'no name'), coalesce(state, 'busy'),
                    round(extract(epoch FROM clock_timestamp() - coalesce(xact_start, backend_start)))) AS who,
             greatest(age(backend_xmin), age(backend_xid)) AS age
      FROM pg_catalog.pg_stat_activity
      WHERE (datname = current_database() OR backend_type = 'walsender') AND pid <> pg_backend_pid()
        AND pid NOT IN (SELECT pid FROM pg_catalog.pg_stat_progress_vacuum) -- a VACUUM holds nobody back
      UNION ALL
      SELECT format('prepared transaction %L of %s, since %s', gid, owner, to_char(prepared, 'YYYY-MM-DD HH24:MI TZ')),
             age(transaction)
      FROM pg_catalog.pg_prepared_xacts WHERE database = current_database()
      UNION ALL
      SELECT format('replication slot %I (%s)', slot_name, CASE WHEN active THEN 'active' ELSE 'nobody reads it' END),
             age(xmin)
      FROM pg_catalog.pg_replication_slots
    ) holder
    WHERE age > 0 ORDER BY age DESC LIMIT 1
    """
)
_SEES = sql.SQL("SELECT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS sees")


def holder(session: Session) -> str:
    """Name who holds the xmin horizon back the farthest, and for how long; say so if the login may not see it.

    Nothing: nobody does any more.
    """
    found = session.rows(_HOLDER)
    if found:
        return f"held back by {found[0]['who']}"
    if not session.rows(_SEES)[0]["sees"]:
        return "something holds them back; who, only a member of pg_monitor may see"
    return ""
