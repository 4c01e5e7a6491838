"""The statements of the audit log: the actions of principals through the HTTP interface."""

from dataclasses import dataclass
from datetime import datetime

from store.store import Row, Transaction
from store.timestamps import to_text

LONGEST = 500

_INSERT = """
    INSERT INTO audit (at, principal, address, action, subject, detail) VALUES (?, ?, ?, ?, ?, ?)
"""
_LATEST = "SELECT * FROM audit ORDER BY id DESC LIMIT ?"
_PURGE = "DELETE FROM audit WHERE at < ?"


@dataclass(frozen=True, slots=True)
class Entry:
    """One action of a principal, from an address."""

    principal: str
    address: str
    action: str
    subject: str = ""
    detail: str = ""


def record(transaction: Transaction, entry: Entry, now: datetime) -> None:
    """Add an entry; long texts are cut."""
    texts = (entry.principal, entry.address, entry.action, entry.subject, entry.detail)
    transaction.execute(_INSERT, (to_text(now), *(text[:LONGEST] for text in texts)))


def load_latest(transaction: Transaction, limit: int) -> list[Row]:
    """Return the newest entries first."""
    return transaction.rows(_LATEST, (limit,))


def purge(transaction: Transaction, before: datetime) -> None:
    """Delete the entries before an instant."""
    transaction.execute(_PURGE, (to_text(before),))
