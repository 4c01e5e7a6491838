"""The state: what sereno has done, found and told, in a file or in a PostgreSQL database.

The same statements run on both. They are written for SQLite, with `?` or `:name` for parameters, in
the forms that PostgreSQL knows too; `json_each`, `json_extract` and `julianday` are made there.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from store.wakeup import Wakeup

Value = str | int | float | bytes | None
Row = dict[str, Any]
Parameters = Sequence[Value] | Mapping[str, Value]


class StoreError(Exception):
    """The state cannot be used; it has not been changed.

    If a database is lost just as a transaction ends, its changes may have been kept.
    """


class DisplacedError(StoreError):
    """Another service owns the state now; this one has to end."""


class Transaction(ABC):
    """The statements of one transaction: all are kept, or none."""

    main: str
    """The schema of the tables."""
    temporary: str
    """The schema of what is made for this transaction."""

    def __init__(self) -> None:
        self.rang = False

    def ring(self) -> None:
        """Wake the waiting threads of this process when the transaction is committed."""
        self.rang = True

    @abstractmethod
    def execute(self, statement: str, parameters: Parameters = ()) -> int:
        """Run a statement; return the number of rows changed."""

    @abstractmethod
    def execute_many(self, statement: str, parameters: Iterable[Parameters]) -> None:
        """Run a statement once per set of parameters."""

    @abstractmethod
    def insert(self, statement: str, parameters: Parameters = ()) -> int:
        """Run an INSERT; return the new id."""

    @abstractmethod
    def rows(self, statement: str, parameters: Parameters = ()) -> list[Row]:
        """Run a query; return its rows."""

    @abstractmethod
    def version(self) -> int:
        """Return the version of the schema."""

    def row(self, statement: str, parameters: Parameters = ()) -> Row | None:
        """Run a query; return its only row, or None."""
        found = self.rows(statement, parameters)
        if found:
            return found[0]
        return None


class Store(ABC):
    """A state of this program's schema version."""

    wakeup: Wakeup
    """Woken by each commit of this process that has news."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Return where the state is, for people; without a secret."""

    @property
    @abstractmethod
    def changed(self) -> object:
        """Return a value that changes with every commit of any process. Raises StoreError."""

    @abstractmethod
    def owned(self, patience_seconds: float = 0.0) -> AbstractContextManager[None]:
        """Be the service of this state for the body: the owner of the outbox.

        Raises LockHeldError, naming the holder, after the patience, and StoreError.
        """

    @abstractmethod
    def confirm_owned(self) -> None:
        """Have `owned` again if it was lost.

        Raises StoreError, and DisplacedError if another one has it.
        """

    @abstractmethod
    def reopen(self) -> None:
        """Open the state anew for the next transaction: it may be out of reach by now."""

    @abstractmethod
    def job_lock(self, job: str) -> Path:
        """Return the lock file that keeps a host job from running twice at once on this host."""

    @abstractmethod
    def transaction(self) -> AbstractContextManager[Transaction]:
        """Open a writing transaction; commit at the end, roll back on any exception.

        No other one writes meanwhile. Raises StoreError.
        """

    @abstractmethod
    def reading(self) -> AbstractContextManager[Transaction]:
        """Open a reading transaction: one consistent state. Raises StoreError."""

    def instance(self) -> str:
        """Return the id of this instance, created with the state."""
        with self.reading() as transaction:
            row = transaction.row("SELECT value FROM instance WHERE name = 'id'")
        if row:
            return str(row["value"])
        return ""


@cache
def schema_files(dialect: str) -> dict[int, str]:
    """Return the schema files of a dialect by the version that each leads to."""
    folder = resources.files("store") / "schema" / dialect
    names = sorted(file.name for file in folder.iterdir() if file.name.endswith(".sql"))
    return {int(name.partition("_")[0]): (folder / name).read_text("utf-8") for name in names}


def schema_version() -> int:
    """Return the schema version of this program."""
    return max(schema_files("sqlite"))
