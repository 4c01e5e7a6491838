"""Who keeps VACUUM from removing dead rows of this database: the oldest snapshot that still sees them."""

from dataclasses import dataclass

from psycopg import sql

from postgres.connection import Session

LASTING_SECONDS = 60.0
"""A session that has stood still for less may be gone in a moment."""

_HOLDER = sql.SQL(
    """
    SELECT who, age, seconds, coalesce(lasting, seconds >= %(lasting)s, false) AS lasting FROM (
      SELECT format('pid %%s (%%s, %%s), %%s for %%s s', pid, coalesce(usename, backend_type),
                    coalesce(nullif(application_name, ''), 'no name'), coalesce(state, 'busy'),
                    round(extract(epoch FROM clock_timestamp() - coalesce(xact_start, backend_start)))) AS who,
             greatest(age(backend_xmin), age(backend_xid)) AS age,
             extract(epoch FROM clock_timestamp() - CASE state WHEN 'active' THEN query_start
                                                               ELSE state_change END)::float8 AS seconds,
             NULL::bool AS lasting
      FROM pg_catalog.pg_stat_activity
      WHERE (datname = current_database() OR backend_type = 'walsender') AND pid <> pg_backend_pid()
        AND pid NOT IN (SELECT pid FROM pg_catalog.pg_stat_progress_vacuum) -- a VACUUM holds nobody back
      UNION ALL
      SELECT format('prepared transaction %%L of %%s, since %%s', gid, owner,
                    to_char(prepared, 'YYYY-MM-DD HH24:MI TZ')),
             age(transaction), extract(epoch FROM clock_timestamp() - prepared)::float8, true
      FROM pg_catalog.pg_prepared_xacts WHERE database = current_database()
      UNION ALL
      SELECT format('replication slot %%I (%%s)', slot_name, CASE WHEN active THEN 'active' ELSE 'nobody reads it' END),
             age(xmin), NULL, NOT active
      FROM pg_catalog.pg_replication_slots
    ) holder
    WHERE age > 0 ORDER BY age DESC LIMIT 1
    """
)
_SEES = sql.SQL("SELECT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS sees")


_TABLE = sql.SQL(
    """
    SELECT greatest(age(c.relfrozenxid), age(t.relfrozenxid)) AS age,
           extract(epoch FROM now() - greatest(pg_catalog.pg_stat_get_last_vacuum_time(c.oid),
                                               pg_catalog.pg_stat_get_last_autovacuum_time(c.oid)))::float8 AS ago
    FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_class t ON t.oid = c.reltoastrelid
    WHERE c.oid = %s
    """
)


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds the horizon back the farthest."""

    who: str
    age: int
    """In transactions."""
    seconds: float | None
    """For how long at the least, without any change; None: nobody knows (a slot, a standby)."""
    lasting: bool
    """Whether it will hardly be gone in a moment."""

    def __str__(self) -> str:
        """Say it as a reason."""
        return f"held back by {self.who}"

    def dooms(self, age: int, vacuumed_ago: float | None) -> bool:
        """Say whether VACUUM of a table would be in vain: it is of that age, and was vacuumed that long ago.

        Nothing in it is older than the horizon; or all that was could have been removed since the horizon stands.
        (Rows of transactions that were rolled back could still be: they wait with the others.)
        """
        if not self.lasting:
            return False
        since = self.seconds is not None and vacuumed_ago is not None and vacuumed_ago < self.seconds
        return since or age <= self.age


def oldest(session: Session) -> Holder | None:
    """Return who holds the horizon back; None: nobody, as far as the login may see."""
    found = session.rows(_HOLDER, {"lasting": LASTING_SECONDS})
    return Holder(**found[0]) if found else None


def in_vain(session: Session, oid: int, *, by_age: bool) -> str:
    """Look again right before a VACUUM that the plan thought vain: who still dooms it, or nothing.

    Of one that has to freeze only the age tells: an earlier one may have had no need to.
    """
    held, seen = oldest(session), session.rows(_TABLE, (oid,))
    return str(held) if held and seen and held.dooms(seen[0]["age"], None if by_age else seen[0]["ago"]) else ""


def holder(session: Session) -> str:
    """Name who holds the xmin horizon back the farthest, and for how long; say so if the login may not see it.

    Nothing: nobody does any more.
    """
    found = oldest(session)
    if found:
        return str(found)
    if not session.rows(_SEES)[0]["sees"]:
        return "something holds them back; who, only a member of pg_monitor may see"
    return ""
