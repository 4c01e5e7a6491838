"""The xmin horizon: the oldest snapshot, which keeps VACUUM from removing dead rows."""

from dataclasses import dataclass

from psycopg import sql

from postgres.session import Session

_HOLDER = sql.SQL(
    """
    SELECT who, xid FROM (
      SELECT format('pid %s (%s, %s), %s for %s s', pid, coalesce(usename, backend_type),
                    coalesce(nullif(application_name, ''), 'no name'), coalesce(state, 'busy'),
                    round(extract(epoch FROM clock_timestamp() - coalesce(xact_start,
                      backend_start)))) AS who,
             CASE WHEN age(backend_xmin) >= coalesce(age(backend_xid),
               0) THEN backend_xmin ELSE backend_xid END AS xid
      FROM pg_catalog.pg_stat_activity
      WHERE (datname = current_database() OR backend_type = 'walsender') AND pid <> pg_backend_pid()
        AND pid NOT IN (SELECT pid
          FROM pg_catalog.pg_stat_progress_vacuum) -- a VACUUM holds nobody back
      UNION ALL
      SELECT format('prepared transaction %L of %s, since %s', gid, owner, to_char(prepared,
        'YYYY-MM-DD HH24:MI TZ')),
             transaction
      FROM pg_catalog.pg_prepared_xacts WHERE database = current_database()
      UNION ALL
      SELECT format('replication slot %I (%s)', slot_name,
        CASE WHEN active THEN 'active' ELSE 'nobody reads it' END),
             xmin
      FROM pg_catalog.pg_replication_slots
    ) holder
    WHERE age(xid) > 0 ORDER BY age(xid) DESC LIMIT 1
    """
)
_SEES = sql.SQL("SELECT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS sees")


@dataclass(frozen=True, slots=True)
class HorizonHolder:
    """The session, slot or transaction that holds the horizon back, and the transaction id."""

    who: str
    xid: str

    def __str__(self) -> str:
        """Return the holder as a reason."""
        return f"held back by {self.who}"


def oldest_holder(session: Session) -> HorizonHolder | None:
    """Return the oldest holder as far as the login may see; None if there is none."""
    found = session.rows(_HOLDER)
    if found:
        return HorizonHolder(found[0]["who"], str(found[0]["xid"]))
    return None


def still_held_by(session: Session, xid: str) -> str:
    """Return the holder if the horizon still stands at `xid`; empty if it has advanced."""
    held = oldest_holder(session)
    if held and held.xid == xid:
        return str(held)
    return ""


def missing_privilege(session: Session) -> str:
    """Return the missing privilege that may hide a holder; empty if everything is visible."""
    if session.rows(_SEES)[0]["sees"]:
        return ""
    return "held back by something that only a member of pg_monitor may see"
