"""The state file: opened carefully, changed only in short transactions.

SQLite with a rollback journal and `synchronous=EXTRA`: what is committed survives a power cut, and the
write-ahead-log bug of SQLite 3.7 to 3.51 (two writers, one checkpoint) cannot be met. A connection lives
as long as one transaction, so threads and processes share nothing but the file.
"""

import shutil
import sqlite3
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from store.file_lock import belong
from store.wakeup import Bell

Value = str | int | float | bytes | None
Row = dict[str, Any]
Parameters = Sequence[Value] | Mapping[str, Value]

BUSY_SECONDS = 15.0


class StoreError(Exception):
    """The state file cannot be used as it is; it has not been touched."""


class Transaction:
    """The statements of one transaction; all of them are kept, or none."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.rang = False

    def ring(self) -> None:
        """Wake, when this is committed, those of this process who wait for news."""
        self.rang = True

    def execute(self, statement: str, parameters: Parameters = ()) -> int:
        """Run a statement; return how many rows it changed."""
        return self._connection.execute(statement, parameters).rowcount

    def execute_many(self, statement: str, parameters: Iterable[Parameters]) -> None:
        """Run a statement once for each set of parameters."""
        self._connection.executemany(statement, parameters)

    def insert(self, statement: str, parameters: Parameters = ()) -> int:
        """Run an INSERT; return the new rowid."""
        return self._connection.execute(statement, parameters).lastrowid or 0

    def rows(self, statement: str, parameters: Parameters = ()) -> list[Row]:
        """Run a statement that answers with rows."""
        cursor = self._connection.execute(statement, parameters)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, values, strict=True)) for values in cursor]

    def row(self, statement: str, parameters: Parameters = ()) -> Row | None:
        """Run a statement that answers with one row or none."""
        found = self.rows(statement, parameters)
        return found[0] if found else None


@dataclass(frozen=True, slots=True)
class Store:
    """The state file at `path`, of this program's version."""

    path: Path
    bell: Bell = field(default_factory=Bell, repr=False, compare=False)
    """Rung by each commit of this process that has news."""

    @property
    def changed(self) -> tuple[int, int]:
        """What is another value after a commit, of any process: cheaper to ask than the file's content. StoreError."""
        try:
            status = self.path.stat()
        except OSError as error:
            raise StoreError(f"{self.path}: {error.strerror}") from error
        return status.st_mtime_ns, status.st_size

    @property
    def service_lock(self) -> Path:
        """The file whose lock makes one process the owner of the outbox."""
        return self.path.with_name(self.path.name + ".lock")

    def job_lock(self, job: str) -> Path:
        """The file whose lock keeps a host job from running beside itself."""
        return self.path.with_name(f"{self.path.name}.{job}.lock")

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Write. Takes SQLite's reserved lock at once; commits at the end, rolls back on any exception.

        StoreError: the disk is full, the folder is read-only, the file was damaged meanwhile.
        """
        with _connected(self.path) as connection:
            connection.execute("BEGIN IMMEDIATE")
            transaction = Transaction(connection)
            yield transaction
            connection.execute("COMMIT")
        if transaction.rang:
            self.bell.ring()

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        """Read one consistent state of the file."""
        with _connected(self.path) as connection:
            connection.execute("BEGIN")
            yield Transaction(connection)

    def instance(self) -> str:
        """Return who we are: made with the file, so a copy of the configuration is somebody else."""
        with self.reading() as transaction:
            row = transaction.row("SELECT value FROM instance WHERE name = 'id'")
        return row["value"] if row else ""


def open_store(path: Path) -> Store:
    """Open the state file, or make it (0600); bring an older one up to date, a copy set aside first.

    StoreError, with the file as it was: damaged, of a newer version, not ours, not readable.
    """
    try:
        if not path.exists():
            path.touch(mode=0o600)
            belong(path)
        _examine(path)
        with closing(_connect(path)) as connection:
            _bring_up_to_date(connection, path)
    except OSError as error:
        cure = f"; make the folder {path.parent}, or set daemon.state" if not path.parent.exists() else ""
        raise StoreError(f"{path}: cannot be opened: {error.strerror or error}{cure}") from error
    except (sqlite3.Error, UnicodeDecodeError) as error:  # a damaged page comes out as text that is none
        cure = "Put back a copy, or move it away to begin with an empty history"
        raise StoreError(f"{path}: {error}; nothing was changed. {cure}") from error
    return Store(path)


def _examine(path: Path) -> None:
    """Look at a file without the right to write it: even a change of the journal's mode would be one.

    Only a journal that a killed process left behind is rolled back first: the file is not whole without it.
    """
    journal = path.with_name(f"{path.name}-journal")
    mode = "rw" if journal.exists() and journal.stat().st_size else "ro"
    address = f"{path.absolute().as_uri()}?mode={mode}"
    with closing(sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS, isolation_level=None)) as connection:
        connection.execute("BEGIN")  # one state for all three looks: another process may be making the schema
        version, known = _version(connection), len(_migrations())
        if version < 0:
            raise StoreError(f"{path}: damaged (schema {version}); nothing was changed. Put back a copy")
        if version > known:
            newer = f"written by a newer sereno (schema {version}, this one knows {known})"
            raise StoreError(f"{path}: {newer}; nothing was changed")
        verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise StoreError(f"{path}: damaged ({verdict}); nothing was changed. Put back a copy")
        if version == 0 and connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise StoreError(f"{path}: an SQLite file, but not sereno's; nothing was changed")


@contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        with closing(_connect(path)) as connection:
            yield connection
    except sqlite3.IntegrityError:
        raise
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise StoreError(f"{path}: {error}") from error


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path.absolute().as_uri() + "?mode=rw", uri=True, timeout=BUSY_SECONDS, isolation_level=None
    )
    connection.execute("PRAGMA journal_mode = TRUNCATE")
    connection.execute("PRAGMA synchronous = EXTRA")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def _migrations() -> list[str]:
    folder = resources.files("store") / "schema"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return [file.read_text("utf-8") for file in files]


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _bring_up_to_date(connection: sqlite3.Connection, path: Path) -> None:
    scripts = _migrations()
    version = _version(connection)
    if version == len(scripts):
        return
    if version:
        shutil.copy2(path, path.with_name(f"{path.name}.schema{version}"))
    connection.execute("PRAGMA foreign_keys = OFF")  # a table that is made anew keeps those who refer to it
    connection.execute("BEGIN EXCLUSIVE")
    for number in range(_version(connection), len(scripts)):
        for statement in _statements(scripts[number]):
            connection.execute(statement)
    connection.execute("INSERT OR IGNORE INTO instance (name, value) VALUES ('id', ?)", (uuid.uuid4().hex,))
    connection.execute("COMMIT")


def _statements(script: str) -> Iterator[str]:
    """Cut a script where SQLite itself says that a statement is complete (executescript would commit first)."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
