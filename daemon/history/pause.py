"""The pause set by `sereno pause`."""

from dataclasses import dataclass
from datetime import datetime

from store.store import Transaction
from store.timestamps import from_text, to_text

_PAUSE = """
    INSERT INTO pause ("only", since, until, reason) VALUES (1, ?, ?, ?)
    ON CONFLICT ("only") DO UPDATE SET until = excluded.until, reason = excluded.reason
"""
_PAUSED = "SELECT until, reason FROM pause WHERE until IS NULL OR until > ?"
_RESUME = "DELETE FROM pause"


@dataclass(frozen=True, slots=True)
class Paused:
    """The end of a pause (None: until `sereno resume`) and its reason."""

    until: datetime | None
    reason: str


def pause(transaction: Transaction, until: datetime | None, reason: str, now: datetime) -> None:
    """Pause all work until an instant, or until `resume`."""
    transaction.execute(_PAUSE, (to_text(now), to_text(until) if until else None, reason))


def paused(transaction: Transaction, now: datetime) -> Paused | None:
    """Return the pause in force, or None."""
    row = transaction.row(_PAUSED, (to_text(now),))
    if row is None:
        return None
    return Paused(from_text(row["until"]) if row["until"] else None, row["reason"])


def resume(transaction: Transaction) -> bool:
    """End the pause; return whether there was one."""
    return transaction.execute(_RESUME) > 0
