"""The statements that store which databases were found on the servers of groups."""

from collections.abc import Collection
from datetime import datetime

from domain.place import SEPARATOR
from store.store import Row, Transaction
from store.timestamps import from_text, to_text

_ALL = """
    SELECT origin, name, oid, absent_at, first_seen, missing_since, prepared FROM found_database
    ORDER BY origin, name
"""
_ADD = """
    INSERT INTO found_database (origin, name, oid, absent_at, first_seen) VALUES (?, ?, ?, ?, ?)
"""
_BACK = """
    UPDATE found_database SET missing_since = NULL, absent_at = ? WHERE origin = ? AND name = ?
"""
_MISS = "UPDATE found_database SET missing_since = ? WHERE origin = ? AND name = ?"
_PREPARE = "UPDATE found_database SET prepared = ? WHERE origin = ? AND name = ?"
_PREPARED_NOW = """
    UPDATE found_database SET prepared = 1, absent_at = ?
    WHERE origin = ? AND name = ? AND prepared = 0
"""
_REMOVE = "DELETE FROM found_database WHERE origin = ? AND name = ?"
_LOOKED = "SELECT value FROM instance WHERE name = ?"
_LOOK = """
    INSERT INTO instance (name, value) VALUES (?, ?)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value
"""
_FORGET = (
    "DELETE FROM target WHERE database = ?",
    "DELETE FROM object_memory WHERE database = ?",
    "DELETE FROM last_end WHERE database = ?",
    "DELETE FROM last_measure WHERE database = ?",
)
_PLANNED = "SELECT name FROM instance WHERE name >= 'planned ' AND name < 'planned!'"
_FORGET_PLANNED = "DELETE FROM instance WHERE name = ?"


def load_all(transaction: Transaction) -> list[Row]:
    """Return every found database, those too that are missing now."""
    return transaction.rows(_ALL)


def add(transaction: Transaction, key: tuple[str, str], oid: int, now: datetime) -> None:
    """Record a new database; it was not there at the last look at its server."""
    looked = transaction.row(_LOOKED, (_looked(key[0]),))
    absent = min(looked["value"] if looked else to_text(now), to_text(now))
    transaction.execute(_ADD, (*key, oid, absent, to_text(now)))


def looked(transaction: Transaction, origin: str, asked_at: datetime) -> None:
    """Record when the databases of a group were asked for."""
    transaction.execute(_LOOK, (_looked(origin), to_text(asked_at)))


def looked_at(transaction: Transaction, origin: str) -> datetime | None:
    """Return when the recorded databases of a group were asked for; None for never."""
    row = transaction.row(_LOOKED, (_looked(origin),))
    return from_text(row["value"]) if row else None


def mark_missing(transaction: Transaction, key: tuple[str, str], now: datetime) -> None:
    """Record that a database is not there."""
    transaction.execute(_MISS, (to_text(now), *key))


def mark_back(transaction: Transaction, key: tuple[str, str], now: datetime) -> None:
    """Record that a missing database is there again; until now it was not there."""
    transaction.execute(_BACK, (to_text(now), *key))


def mark_prepared(
    transaction: Transaction,
    key: tuple[str, str],
    now: datetime,
    *,
    prepared: bool,
    deleting: Collection[str],
) -> None:
    """Record whether a database has the schema `sereno`.

    The tasks of the jobs that delete can be planned there from now on, not since an earlier due
    time.
    """
    if prepared:
        transaction.execute(_PREPARED_NOW, (to_text(now), *key))
    transaction.execute(_PREPARE, (int(prepared), *key))
    forget_planned(transaction, {f"{key[0]}{SEPARATOR}{key[1]}"}, deleting)


def remove(transaction: Transaction, key: tuple[str, str]) -> None:
    """Remove a database."""
    transaction.execute(_REMOVE, key)


def forget(transaction: Transaction, databases: Collection[str], jobs: Collection[str]) -> None:
    """Forget the server, memory and last results of databases; their runs and alerts stay."""
    if databases:
        for statement in _FORGET:
            transaction.execute_many(statement, [(name,) for name in databases])
        forget_planned(transaction, databases, jobs)


def forget_planned(
    transaction: Transaction, databases: Collection[str], jobs: Collection[str]
) -> None:
    """Forget since when the tasks of jobs are planned in databases."""
    if databases:
        names = [str(row["name"]) for row in transaction.rows(_PLANNED)]
        ended = [(name,) for name in names if any(_is_of(name, job, databases) for job in jobs)]
        transaction.execute_many(_FORGET_PLANNED, ended)


def _is_of(name: str, job: str, databases: Collection[str]) -> bool:
    """Return whether the name of a planned task ends with a job and one of the databases.

    A schedule may be called like the job, and a database may have any name.
    """
    word, at = f" {job} ", -1
    while (at := name.find(word, at + 1)) >= 0:
        if name[at + len(word) :] in databases:
            return True
    return False


def missing_since(row: Row) -> datetime | None:
    """Return since when a database is missing; None if it is there."""
    return from_text(row["missing_since"]) if row["missing_since"] else None


def _looked(origin: str) -> str:
    return f"looked {origin}"
