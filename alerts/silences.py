"""The statements that store silences."""

import json
from dataclasses import asdict
from datetime import datetime

from alerts.policy import Matcher, Silence
from domain.finding import Severity
from store.store import Row, Transaction
from store.timestamps import from_text, to_text

_INSERT = "INSERT INTO silence (matcher, author, reason, starts_at, ends_at) VALUES (?, ?, ?, ?, ?)"
_ACTIVE = "SELECT * FROM silence WHERE ends_at > ? ORDER BY ends_at, id"
_END = "UPDATE silence SET ends_at = ? WHERE id = ? AND ends_at > ?"


def add(transaction: Transaction, silence: Silence) -> int:
    """Store a silence; return its number."""
    matcher = json.dumps(asdict(silence.matcher), ensure_ascii=False)
    instants = (to_text(silence.starts_at), to_text(silence.ends_at))
    return transaction.insert(_INSERT, (matcher, silence.author, silence.reason, *instants))


def active(transaction: Transaction, now: datetime) -> tuple[Silence, ...]:
    """Return the silences that have not ended."""
    return tuple(_silence(row) for row in transaction.rows(_ACTIVE, (to_text(now),)))


def end(transaction: Transaction, number: int, now: datetime) -> bool:
    """End a silence now; return whether it was active."""
    return transaction.execute(_END, (to_text(now), number, to_text(now))) == 1


def _silence(row: Row) -> Silence:
    fields = json.loads(row["matcher"])
    severities = tuple(Severity(one) for one in fields.pop("severity"))
    return Silence(
        Matcher(severity=severities, **fields),
        row["author"],
        row["reason"],
        from_text(row["starts_at"]),
        from_text(row["ends_at"]),
        row["id"],
    )
