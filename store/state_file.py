"""The state file: opened carefully, changed in short transactions.

SQLite with a rollback journal and `synchronous=EXTRA`: committed data survives a power cut, and the
write-ahead-log bug of SQLite 3.7 to 3.51 (two writers, one checkpoint) cannot occur. One thread
uses a connection at a time, for one transaction.
"""

import atexit
import os
import shutil
import sqlite3
import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from store.file_lock import exclusive_lock, match_folder_owner
from store.kept_connections import KeptConnections
from store.store import (
    Parameters,
    Row,
    Store,
    StoreError,
    Transaction,
    schema_files,
    schema_version,
)
from store.wakeup import Wakeup

BUSY_SECONDS = 15.0
TURN_SECONDS = 120.0
"""Threads of this process write in turns; another process waits for SQLite's lock alone."""
_WRITERS: dict[Path, threading.Lock] = {}
"""The turn of each state file that this process has open."""
_KEPT = KeptConnections()
atexit.register(_KEPT.close)


class FileTransaction(Transaction):
    """A transaction of the state file."""

    main, temporary = "main", "temp"

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__()
        self._connection = connection

    def execute(self, statement: str, parameters: Parameters = ()) -> int:
        """Run a statement; return the number of rows changed."""
        return self._connection.execute(statement, parameters).rowcount

    def execute_many(self, statement: str, parameters: Iterable[Parameters]) -> None:
        """Run a statement once per set of parameters."""
        self._connection.executemany(statement, parameters)

    def insert(self, statement: str, parameters: Parameters = ()) -> int:
        """Run an INSERT; return the new rowid."""
        return self._connection.execute(statement, parameters).lastrowid or 0

    def rows(self, statement: str, parameters: Parameters = ()) -> list[Row]:
        """Run a query; return its rows."""
        cursor = self._connection.execute(statement, parameters)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, values, strict=True)) for values in cursor]

    def version(self) -> int:
        """Return the version of the schema."""
        return _version(self._connection)


@dataclass(frozen=True, slots=True)
class FileStore(Store):
    """The state file at `path`, of this program's schema version."""

    path: Path
    wakeup: Wakeup = field(default_factory=Wakeup, repr=False, compare=False)
    """Woken by each commit of this process that has news."""

    @property
    def name(self) -> str:
        """Return the path."""
        return str(self.path)

    @property
    def changed(self) -> tuple[int, int]:
        """Return a value that changes with every commit of any process. Raises StoreError."""
        try:
            status = self.path.stat()
        except OSError as error:
            raise StoreError(f"{self.path}: {error.strerror}") from error
        return status.st_mtime_ns, status.st_size

    def owned(self, patience_seconds: float = 0.0) -> AbstractContextManager[None]:
        """Hold the lock file beside the state file for the body. Raises LockHeldError."""
        return exclusive_lock(self.path.with_name(self.path.name + ".lock"), patience_seconds)

    def confirm_owned(self) -> None:
        """Do nothing: the kernel holds the lock as long as the process lives."""

    def reopen(self) -> None:
        """Close the kept connections: through them a file is written that may not be opened."""
        _KEPT.close()

    def job_lock(self, job: str) -> Path:
        """Return the lock file that keeps a host job from running twice at once."""
        return self.path.with_name(f"{self.path.name}.{job}.lock")

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Open a writing transaction; commit at the end, roll back on any exception.

        Raises StoreError if the disk is full, the folder is read-only or the file is damaged.
        """
        with _turn(self.path), _connected(self.path) as connection:
            connection.execute("BEGIN IMMEDIATE")
            transaction = FileTransaction(connection)
            yield transaction
            connection.execute("COMMIT")
        if transaction.rang:
            self.wakeup.ring()

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        """Open a reading transaction: one consistent state of the file."""
        with _connected(self.path, writes=False) as connection:
            connection.execute("BEGIN")
            yield FileTransaction(connection)
            connection.execute("ROLLBACK")  # drops temporary tables too


class EmptyStore(FileStore):
    """A store that is always empty and keeps nothing: for reading without the state."""

    __slots__ = ()

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Open a transaction on a new database in memory, which ends with it."""
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
            _migrate(connection, self.path)
            yield FileTransaction(connection)

    reading = transaction


def open_file(path: Path) -> FileStore:
    """Open the state file, or create it with mode 0600; upgrade an older schema after a copy.

    Raises StoreError with the file unchanged: damaged, newer, not sereno's, or not readable.
    """
    if path.is_dir():
        raise StoreError(f"{path}: is a folder; daemon.state names a file")
    try:
        if not path.exists():
            path.touch(mode=0o600)
            match_folder_owner(path)
        _examine(path)
        with closing(_connect(path)) as connection:
            _migrate(connection, path)
    except OSError as error:
        cure = ""
        if not path.parent.exists():
            cure = f"; create the folder {path.parent}, or set daemon.state"
        elif not path.exists():
            cure = f"; no file can be made in {path.parent}: set daemon.state"
        raise StoreError(f"{path}: cannot be opened: {error.strerror or error}{cure}") from error
    except (sqlite3.Error, UnicodeDecodeError) as error:
        # a damaged page may yield invalid UTF-8
        if _is_of_another_user(path):
            raise StoreError(_forbidden(path)) from error
        cure = "Restore a copy, or move the file away to begin with an empty history"
        raise StoreError(f"{path}: {error}; nothing was changed. {cure}") from error
    return FileStore(path)


def _examine(path: Path) -> None:
    """Examine a file read-only; even switching the journal mode would change it.

    A journal left by a killed process is rolled back first, since the file is incomplete without
    it.
    """
    journal = path.with_name(f"{path.name}-journal")
    mode = "ro"
    if journal.exists() and journal.stat().st_size:
        mode = "rw"
    address = f"{path.absolute().as_uri()}?mode={mode}"
    with closing(
        sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
    ) as connection:
        # one snapshot for the three queries, since another process may be creating the schema
        connection.execute("BEGIN")
        version, known = _version(connection), schema_version()
        if version < 0:
            raise StoreError(
                f"{path}: damaged (schema {version}); nothing was changed. Restore a copy"
            )
        if version > known:
            newer = f"written by a newer sereno (schema {version}, this one supports {known})"
            raise StoreError(f"{path}: {newer}; nothing was changed")
        verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise StoreError(f"{path}: damaged ({verdict}); nothing was changed. Restore a copy")
        if version == 0 and connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise StoreError(
                f"{path}: an SQLite file, but not a state file of sereno; nothing was changed"
            )


@contextmanager
def _turn(path: Path) -> Iterator[None]:
    """Wait for the turn to write: SQLite's own wait is a lottery among many threads."""
    lock = _WRITERS.setdefault(path, threading.Lock())
    if not lock.acquire(timeout=TURN_SECONDS):
        raise StoreError(f"{path}: other threads have written for {TURN_SECONDS:.0f} s")
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _connected(path: Path, *, writes: bool = True) -> Iterator[sqlite3.Connection]:
    try:
        with _KEPT.lent(path, partial(_connect, path, writes=writes), writes=writes) as connection:
            yield connection
    except sqlite3.IntegrityError:
        raise
    except (sqlite3.Error, UnicodeDecodeError) as error:
        if _is_of_another_user(path):
            raise StoreError(_forbidden(path)) from error
        raise StoreError(f"{path}: {error}") from error


def _is_of_another_user(path: Path) -> bool:
    """Return whether this user may not use the file because it belongs to another."""
    try:
        mine = path.stat().st_uid == os.geteuid()
    except OSError:
        return False
    return not mine and not os.access(path, os.R_OK | os.W_OK)


def _forbidden(path: Path) -> str:
    """Return that this user may not use the file, with the cure."""
    owner = path.owner()
    cure = f"run sereno as {owner}, or give the file to this user (chown)"
    return f"{path}: no permission: it belongs to {owner}; {cure}"


def _connect(path: Path, *, writes: bool = True) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path.absolute().as_uri() + "?mode=rw",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    if not writes:
        return connection
    connection.execute("PRAGMA journal_mode = TRUNCATE")
    connection.execute("PRAGMA synchronous = EXTRA")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    scripts = schema_files("sqlite")
    version = _version(connection)
    if version == schema_version():
        return
    if version:
        shutil.copy2(path, path.with_name(f"{path.name}.schema{version}"))
    # foreign keys off: a recreated table keeps the rows that refer to it
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute("BEGIN EXCLUSIVE")
    version = _version(connection)
    for number in sorted(one for one in scripts if one > version):
        for statement in _statements(scripts[number]):
            connection.execute(statement)
    connection.execute(
        "INSERT OR IGNORE INTO instance (name, value) VALUES ('id', ?)", (uuid.uuid4().hex,)
    )
    connection.execute("COMMIT")


def _statements(script: str) -> Iterator[str]:
    """Split a script where SQLite sees a complete statement; executescript would commit first."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
