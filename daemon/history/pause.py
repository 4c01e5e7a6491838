"""What `sereno pause` said: everything is held back until an instant, or until `sereno resume`."""

from dataclasses import dataclass
from datetime import datetime

from store.store import Transaction
from store.timestamps import from_text, to_text

_PAUSE = """
    INSERT INTO pause (only, since, until, reason) VALUES (1, ?, ?, ?)
    ON CONFLICT (only) DO UPDATE SET until = excluded.until, reason = excluded.reason
"""
_PAUSED = "SELECT until, reason FROM pause WHERE until IS NULL OR until > ?"
_RESUME = "DELETE FROM pause"


@dataclass(frozen=True, slots=True)
class Paused:
    """What `sereno pause` said: until when (None: until `resume`), and why."""

    until: datetime | None
    reason: str


def pause(transaction: Transaction, until: datetime | None, reason: str, now: datetime) -> None:
    """Hold everything back, until an instant or until `resume`."""
    transaction.execute(_PAUSE, (to_text(now), to_text(until) if until else None, reason))


def paused(transaction: Transaction, now: datetime) -> Paused | None:
    """Return until when and why everything is held back; None when it is not."""
    row = transaction.row(_PAUSED, (to_text(now),))
    if row is None:
        return None
    return Paused(from_text(row["until"]) if row["until"] else None, row["reason"])


def resume(transaction: Transaction) -> bool:
    """Let everything go on; say whether it was held back."""
    return transaction.execute(_RESUME) > 0
