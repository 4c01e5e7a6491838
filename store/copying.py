"""Copies a state file into a database: in batches, verified, and resumed after an interruption."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from store.state_database import DatabaseStore, storable
from store.state_file import FileStore
from store.store import Row, StoreError, Transaction

BATCH = 2000
TABLES = {
    "target": ("database",),
    "run": ("id",),
    "step": ("run", "ordinal"),
    "finding": ("rowid",),
    "measure": ("rowid",),
    "object_memory": ("job", "database", "object"),
    "pause": ('"only"',),
    "alert": ("id",),
    "event": ("id",),
    "notification": ("rowid",),
    "conversation": ("alert", "channel"),
    "silence": ("id",),
    "stop_request": ("run",),
    "migration_evidence": ("id",),
    "web_request": ("rowid",),
    "run_progress": ("run",),
    "migration_state": ("database", "migration"),
    "batch_limit": ("database", "migration"),
    "audit": ("id",),
    "ignored": ("id",),
    "last_end": ("job", "scope", "database"),
    "run_total": ("job", "state", "at_most"),
    "pause_total": ("job", "reason"),
    "last_measure": ("name", "database"),
    "found_database": ("origin", "name"),
    "worker": ("name",),
    "instance": ("name",),
}
"""The tables with the columns by which their rows are ordered, in the order of their references."""
MARK = "copied from"
"""The name in `instance` that says what an unfinished copy is made from."""
_COLUMNS = """
    SELECT column_name AS name FROM information_schema.columns
    WHERE table_schema = 'sereno_state' AND table_name = ? ORDER BY ordinal_position
"""
_FIRST = "SELECT {columns} FROM {table} ORDER BY {keys} LIMIT ?"
_NEXT = "SELECT {columns} FROM {table} WHERE ({keys}) > ({values}) ORDER BY {keys} LIMIT ?"
_INSERT = "INSERT INTO {table} ({columns}) VALUES ({values})"
_EMPTY = "DELETE FROM {table}"
_SEQUENCE = """
    SELECT setval(pg_get_serial_sequence('sereno_state.{table}', '{column}'),
                  greatest((SELECT max({column}) FROM {table}), ?, 1))
"""
_USED = "SELECT seq FROM sqlite_sequence WHERE name = ?"
_MARKED = "SELECT value FROM instance WHERE name = 'copied from'"
_FILLED = "SELECT count(*) AS rows FROM (SELECT 1 FROM run UNION ALL SELECT 1 FROM alert) AS filled"
_SAVE = """
    INSERT INTO instance (name, value) VALUES (?, ?)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value
"""

Told = Callable[[str, int], None]
"""Told the name of a table and how many of its rows are copied."""


@dataclass(frozen=True, slots=True)
class _Table:
    """A table that is copied."""

    name: str
    keys: tuple[str, ...]
    columns: tuple[str, ...]

    def rows(self, transaction: Transaction, after: list[object]) -> list[Row]:
        """Return the rows after a key, at most a batch."""
        parts = {
            "table": self.name,
            "columns": ", ".join(self.columns),
            "keys": ", ".join(self.keys),
            "values": ", ".join("?" for _ in self.keys),
        }
        statement = (_NEXT if after else _FIRST).format(**parts)
        return transaction.rows(statement, [*after, BATCH])  # type: ignore[list-item]

    def key(self, row: Row) -> list[object]:
        """Return the key of a row."""
        return [row[name.strip('"')] for name in self.keys]


def copy_state(source: FileStore, target: DatabaseStore, told: Told) -> dict[str, int]:
    """Copy every row, verify the copy, and return the rows by table.

    Both have to be owned, so that no service changes them. Raises StoreError: for a target that
    has a state of its own, for a copy that differs, and for a source that changes meanwhile. After
    an interruption it goes on where it was; it begins again if the source has changed since.
    """
    made_from = f"{source.instance()} {source.changed}"
    with target.transaction() as transaction:
        _begin(transaction, target.name, made_from, source.instance())
        tables = [_table(transaction, name) for name in TABLES]
    counts = {}
    for table in tables:
        if table.name != "instance":
            counts[table.name] = _copy(source, target, table, told)
    for table in tables:
        if table.name != "instance" and _digest(source, table) != _digest(target, table):
            raise StoreError(f"{target.name}: the copy of {table.name} differs; copy again")
    if f"{source.instance()} {source.changed}" != made_from:
        raise StoreError(f"{source.name}: it was changed meanwhile, by a sereno now; copy again")
    _finish(source, target)
    return counts


def _begin(transaction: Transaction, name: str, made_from: str, instance: str) -> None:
    marked = transaction.row(_MARKED)
    if marked is None:
        row = transaction.row("SELECT value FROM instance WHERE name = 'id'")
        if row is not None and row["value"] == instance:
            raise StoreError(f"{name}: it has this state already; set daemon.state")
        if transaction.rows(_FILLED)[0]["rows"]:
            raise StoreError(f"{name}: it has a state of its own; give an empty database")
    if marked is None or marked["value"] != made_from:
        for table in reversed(TABLES):
            transaction.execute(_EMPTY.format(table=table))
        transaction.execute(_SAVE, (MARK, made_from))


def _table(transaction: Transaction, name: str) -> _Table:
    columns = [str(row["name"]) for row in transaction.rows(_COLUMNS, (name,))]
    return _Table(name, TABLES[name], tuple(f'"{one}"' for one in columns))


def _copy(source: FileStore, target: DatabaseStore, table: _Table, told: Told) -> int:
    """Copy the rows of a table that are not there yet; each batch is kept with its last key."""
    place = f"copied {table.name}"
    with target.reading() as transaction:
        row = transaction.row("SELECT value FROM instance WHERE name = ?", (place,))
    copied, after = json.loads(row["value"]) if row else (0, [])
    insert = _INSERT.format(
        table=table.name,
        columns=", ".join(table.columns),
        values=", ".join("?" for _ in table.columns),
    )
    while True:
        target.confirm_owned()
        with source.reading() as transaction:
            rows = table.rows(transaction, after)
        if not rows and (copied or table.name != "last_measure"):
            told(table.name, copied)
            return int(copied)
        with target.transaction() as transaction:
            if not after and table.name == "last_measure":
                transaction.execute(_EMPTY.format(table=table.name))  # measures have filled it
            transaction.execute_many(insert, [list(one.values()) for one in rows])
            if not rows:
                return 0
            copied, after = copied + len(rows), table.key(rows[-1])
            transaction.execute(_SAVE, (place, json.dumps([copied, after])))
        told(table.name, copied)


def _digest(store: FileStore | DatabaseStore, table: _Table) -> str:
    """Return the SHA-256 of the rows of a table in the order of their keys."""
    found = hashlib.sha256()
    for row in _all(store, table):
        values = storable(list(row.values()))
        found.update(json.dumps(values, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    return found.hexdigest()


def _all(store: FileStore | DatabaseStore, table: _Table) -> Iterator[Row]:
    after: list[object] = []
    while True:
        with store.reading() as transaction:
            rows = table.rows(transaction, after)
        yield from rows
        if len(rows) < BATCH:
            return
        after = table.key(rows[-1])


def _finish(source: FileStore, target: DatabaseStore) -> None:
    """Go on counting ids where the source was, and take over its identity."""
    with source.reading() as read, target.transaction() as transaction:
        for table, keys in TABLES.items():
            if keys in {("id",), ("rowid",)}:
                used = read.row(_USED, (table,))
                sequence = _SEQUENCE.format(table=table, column=keys[0])
                transaction.rows(sequence, (used["seq"] if used else 1,))
        transaction.execute(_EMPTY.format(table="instance"))
        named = read.rows("SELECT name, value FROM instance")
        transaction.execute_many(_SAVE, [(row["name"], row["value"]) for row in named])
