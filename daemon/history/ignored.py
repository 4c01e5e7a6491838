"""The statements about ignored findings that a person has added through the HTTP interface."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from checks.check import Check
from checks.options import CheckOptions, IgnoredObject
from store.store import Row, Transaction
from store.timestamps import to_text

_INSERT = """
    INSERT INTO ignored (name, object, reason, principal, created_at, until, database)
    VALUES (?, ?, ?, ?, ?, ?, ?)
"""
_ACTIVE = "SELECT * FROM ignored WHERE until >= ? ORDER BY until, id"
_END = "DELETE FROM ignored WHERE id = ?"
_PURGE = "DELETE FROM ignored WHERE until < ?"


@dataclass(frozen=True, slots=True)
class IgnoredFinding:
    """An object whose findings of a check are not told until a day."""

    name: str
    one: IgnoredObject
    database: str
    """The database whose check found it; empty for any."""


def add(transaction: Transaction, finding: IgnoredFinding, principal: str, now: datetime) -> int:
    """Add an entry; return its number."""
    one = finding.one
    values = (finding.name, one.object, one.reason, principal, to_text(now), one.until.isoformat())
    return transaction.insert(_INSERT, (*values, finding.database))


def applies(
    row: Row, database: str, clusters: Mapping[str, str], checks: Mapping[str, Check]
) -> bool:
    """Return whether an entry is about what a job finds in a database.

    A check of a server may run in another of its databases than the one that it was added for.
    """
    if row["database"] in {"", database}:
        return True
    check, own = checks.get(row["name"]), clusters.get(database)
    is_of_server = check is not None and check.header.scope == "cluster"
    return is_of_server and own is not None and own == clusters.get(row["database"])


def load_active(transaction: Transaction, day: date) -> list[Row]:
    """Return the entries that have not ended on a day."""
    return transaction.rows(_ACTIVE, (day.isoformat(),))


def end(transaction: Transaction, number: int) -> bool:
    """End an entry; return whether it was there."""
    return transaction.execute(_END, (number,)) == 1


def purge(transaction: Transaction, before: date) -> None:
    """Delete the entries that ended before a day."""
    transaction.execute(_PURGE, (before.isoformat(),))


def with_ignored(
    checks: Mapping[str, CheckOptions], entries: Sequence[Row]
) -> Mapping[str, CheckOptions]:
    """Return the options of the checks with the entries beside the configured ones."""
    changed = dict(checks)
    for row in entries:
        options = changed.get(row["name"])
        if options is not None:
            one = IgnoredObject(object=row["object"], until=row["until"], reason=row["reason"])
            changed[row["name"]] = options.model_copy(update={"ignore": (*options.ignore, one)})
    return changed
