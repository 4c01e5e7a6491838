"""The statements that store silences."""

from datetime import datetime
from typing import TYPE_CHECKING

from store.store import Row, Transaction
from store.timestamps import from_text, to_text

if TYPE_CHECKING:
    from alerts.policy import Silence

_INSERT = "INSERT INTO silence (matcher, author, reason, starts_at, ends_at) VALUES (?, ?, ?, ?, ?)"
_ACTIVE = "SELECT * FROM silence WHERE ends_at > ? ORDER BY ends_at, id"
_ANY = "SELECT 1 AS found FROM silence WHERE ends_at > ? LIMIT 1"
_END = "UPDATE silence SET ends_at = ? WHERE id = ? AND ends_at > ?"


def add(transaction: Transaction, silence: "Silence") -> int:
    """Store a silence; return its number."""
    matcher = silence.matcher.model_dump_json()
    instants = (to_text(silence.starts_at), to_text(silence.ends_at))
    return transaction.insert(_INSERT, (matcher, silence.author, silence.reason, *instants))


def active(transaction: Transaction, now: datetime) -> "tuple[Silence, ...]":
    """Return the silences that have not ended."""
    return tuple(_silence(row) for row in transaction.rows(_ACTIVE, (to_text(now),)))


def any_active(transaction: Transaction, now: datetime) -> bool:
    """Return whether any silence has not ended."""
    return transaction.row(_ANY, (to_text(now),)) is not None


def end(transaction: Transaction, number: int, now: datetime) -> bool:
    """End a silence now; return whether it was active."""
    return transaction.execute(_END, (to_text(now), number, to_text(now))) == 1


def _silence(row: Row) -> "Silence":
    from alerts.policy import Silence
    from alerts.rules import Matcher

    return Silence(
        Matcher.model_validate_json(row["matcher"]),
        row["author"],
        row["reason"],
        from_text(row["starts_at"]),
        from_text(row["ends_at"]),
        row["id"],
    )
