"""The xmin horizon: the oldest snapshot, which keeps VACUUM from removing dead rows."""

from dataclasses import dataclass

from psycopg import sql

from postgres.session import Session
from postgres.statement_file import read_statement

_HOLDER = read_statement("postgres.catalog", "xmin_horizon")
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
