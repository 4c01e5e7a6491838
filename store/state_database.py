"""The state in a PostgreSQL database, for a sereno on several machines.

All tables are in the schema `sereno_state`. A writing transaction holds one advisory lock until its
end, as SQLite lets one connection write: what reads, decides and writes sees nothing change
meanwhile (PostgreSQL's manual, 13.3.5 Advisory Locks). A reading one is `REPEATABLE READ`.
"""

import atexit
import logging
import re
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, cast

import psycopg
from psycopg_pool import ConnectionPool, PoolTimeout

from store.database_schema import (
    LOCK,
    OLDEST,
    OWNING,
    SCHEMA,
    UNFINISHED,
    VERSION,
    WRITING,
    configure,
    connect,
    display_name,
    keywords,
    reason,
    upgrade,
)
from store.file_lock import LockHeldError
from store.store import (
    DisplacedError,
    Parameters,
    Row,
    Store,
    StoreError,
    Transaction,
    Value,
)
from store.wakeup import Wakeup

CONNECT_SECONDS = 5.0
RETRY_SECONDS = 5.0
"""The pool tries for so long by itself; after that whoever wants a session begins again."""
TURN_SECONDS = 120.0
MOST_SESSIONS = 12
"""Sessions of one process in the database."""
POLL_SECONDS = 0.5
logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)  # StoreError says what is wrong

_OPEN: "dict[tuple[str, Path], DatabaseStore]" = {}
_OPENING = threading.Lock()

_TOKEN = re.compile(r"'(?:[^']|'')*'|--[^\n]*|\?|:([a-z_]\w*)|%")
_TRY_LOCK = "SELECT pg_try_advisory_lock(hashtext('sereno_state'), %s) AS had"
_HOLDER = """
    SELECT a.application_name, a.pid FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 AND l.objid = %s::bigint
      AND l.classid = hashtext('sereno_state')::bigint & 4294967295
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


class DatabaseTransaction(Transaction):
    """A transaction in the database of the state."""

    main, temporary = SCHEMA, "pg_temp"

    def __init__(self, connection: psycopg.Connection[Row]) -> None:
        super().__init__()
        self.connection = connection

    def execute(self, statement: str, parameters: Parameters = ()) -> int:
        """Run a statement; return the number of rows changed."""
        return self._run(statement, parameters).rowcount

    def execute_many(self, statement: str, parameters: Iterable[Parameters]) -> None:
        """Run a statement once per set of parameters."""
        with self.connection.cursor() as cursor:
            cursor.executemany(_translated(statement), [storable(one) for one in parameters])

    def insert(self, statement: str, parameters: Parameters = ()) -> int:
        """Run an INSERT; return the new id."""
        row = self._run(f"{statement} RETURNING id", parameters).fetchone()
        return int(row["id"]) if row else 0

    def rows(self, statement: str, parameters: Parameters = ()) -> list[Row]:
        """Run a query; return its rows."""
        return self._run(statement, parameters).fetchall()

    def version(self) -> int:
        """Return the version of the schema."""
        return int(self.rows(VERSION)[0]["version"])

    def _run(self, statement: str, parameters: Parameters) -> psycopg.Cursor[Row]:
        return self.connection.execute(_translated(statement), storable(parameters))


@cache
def _translated(statement: str) -> str:
    """Return a statement with the placeholders of psycopg."""

    def placeholder(found: re.Match[str]) -> str:
        if found[0] == "?":
            return "%s"
        if found[1]:
            return f"%({found[1]})s"
        return found[0].replace("%", "%%")

    return _TOKEN.sub(placeholder, statement)


def storable(parameters: Parameters) -> Any:  # noqa: ANN401 - what psycopg takes
    """Return parameters without the character that PostgreSQL's text lacks."""
    if isinstance(parameters, dict):
        return {name: _without_nul(value) for name, value in parameters.items()}
    return [_without_nul(value) for value in cast("Iterable[Value]", parameters)]


def _without_nul(value: Value) -> Value:
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}") if isinstance(value, str) else value


@dataclass(frozen=True, slots=True)
class _Owner:
    """A session that holds the lock of the service."""

    session: psycopg.Connection[Row]
    process: int
    """Of the server; libpq forgets it when the connection is lost."""


@dataclass(slots=True)
class _Failure:
    """The last time that no session could be had."""

    at: float = float("-inf")
    reason: str = ""


@dataclass(frozen=True, slots=True)
class DatabaseStore(Store):
    """The state in a database, of this program's schema version."""

    address: str
    """Of the server and the database, without a secret."""
    url: str = field(repr=False)
    folder: Path
    """Of the locks of this host."""
    pool: ConnectionPool[psycopg.Connection[Row]] = field(repr=False, compare=False)
    wakeup: Wakeup = field(default_factory=Wakeup, repr=False, compare=False)
    """Woken by each commit of this process that has news."""
    turn: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)
    """Threads of this process write in turns, so that those that wait hold no session."""
    owner: "list[_Owner]" = field(default_factory=list, repr=False, compare=False)
    """What holds the lock of the service, while this process has it."""
    failure: "_Failure" = field(default_factory=_Failure, repr=False, compare=False)

    @property
    def name(self) -> str:
        """Return the address."""
        return self.address

    @property
    def changed(self) -> object:
        """Return a value that changes with every commit in the server. Raises StoreError."""
        with self._session() as session:
            return session.execute("SELECT pg_current_snapshot()::text AS now").fetchall()[0]["now"]

    def reopen(self) -> None:
        """Do nothing: the pool asks each session before it lends it."""

    def job_lock(self, job: str) -> Path:
        """Return the lock file that keeps a host job from running twice at once on this host."""
        return self.folder / f"state.{job}.lock"

    @contextmanager
    def owned(self, patience_seconds: float = 0.0) -> Iterator[None]:
        """Hold the lock of the service in a session of its own for the body.

        Raises LockHeldError, naming the holder, after the patience, and StoreError.
        """
        deadline = time.monotonic() + patience_seconds
        while (holder := self._own()) is not None:
            if time.monotonic() >= deadline:
                raise LockHeldError(f"{self.name}: in use by {holder}")
            time.sleep(POLL_SECONDS)
        try:
            yield
        finally:
            session = self.owner.pop().session
            with suppress(psycopg.Error):  # a session that has ended holds no lock
                session.execute("SELECT pg_advisory_unlock_all()")
            self.pool.putconn(session)

    def confirm_owned(self) -> None:
        """Take the lock of the service again if its session has ended. Raises StoreError."""
        if not self.owner:
            return
        try:
            self.owner[0].session.execute("SELECT 1")
        except psycopg.Error:
            holder = self._own(self.owner[0].process)
            if holder is not None:
                raise DisplacedError(f"{self.name}: {holder} is the service now") from None
            self.pool.putconn(self.owner.pop(0).session)

    def displace(self) -> None:
        """End the session that holds the lock of the service: its process is frozen.

        Raises StoreError.
        """
        with self._session() as session:
            for row in session.execute(_HOLDER, (OWNING,)).fetchall():
                session.execute("SELECT pg_terminate_backend(%s, 5000)", (row["pid"],))

    def _own(self, former: int = 0) -> str | None:
        """Take the lock of the service; return its holder if another one has it.

        A former session of this process, which the server still has, is ended.
        """
        with self._errors():
            session, had, rows = self.pool.getconn(), False, list[Row]()
            try:
                had = _try_own(session)
                if not had:
                    rows = session.execute(_HOLDER, (OWNING,)).fetchall()
                if rows and rows[0]["pid"] == former:
                    session.execute("SELECT pg_terminate_backend(%s, 5000)", (former,))
                    had = _try_own(session)
            finally:
                if had:
                    self.owner.append(_Owner(session, session.info.backend_pid))
                else:
                    self.pool.putconn(session)
        if had:
            return None
        return str(rows[0]["application_name"]) if rows else "another sereno"

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Open a writing transaction; commit at the end, roll back on any exception.

        No other one writes meanwhile. Raises StoreError.
        """
        since = time.monotonic()
        if not self.turn.acquire(timeout=TURN_SECONDS):
            raise StoreError(f"{self.name}: other threads have written for {TURN_SECONDS:.0f} s")
        try:
            if self.failure.at > since:  # those that have waited fail together, not in turn
                raise StoreError(f"{self.name}: {self.failure.reason}")
            with self._session() as session, session.transaction():
                session.execute(LOCK, (WRITING,))
                transaction = DatabaseTransaction(session)
                yield transaction
        finally:
            self.turn.release()
        if transaction.rang:
            self.wakeup.ring()

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        """Open a reading transaction: one consistent state. Raises StoreError."""
        with self._session() as session, session.transaction(force_rollback=True):
            session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            yield DatabaseTransaction(session)

    @contextmanager
    def _session(self) -> Iterator[psycopg.Connection[Row]]:
        """Lend a session of the pool. Raises StoreError."""
        with self._errors(), self.pool.connection() as session:
            yield session

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise StoreError for an error of the database, except for what a constraint refuses."""
        try:
            yield
        except (psycopg.IntegrityError, psycopg.errors.RaiseException):
            raise
        except PoolTimeout:
            self.failure.reason = self._why()
            self.failure.at = time.monotonic()
            raise StoreError(f"{self.name}: {self.failure.reason}") from None
        except psycopg.Error as error:
            raise StoreError(f"{self.name}: {reason(error)}") from error

    def _why(self) -> str:
        """Return why the pool has no session: it does not say so itself."""
        try:
            connect(self.url).close()
        except psycopg.Error as error:
            return reason(error)
        return f"no session within {CONNECT_SECONDS:.0f} s; all are in use"


def open_database(
    url: str, folder: Path, *, create: bool = True, unfinished: bool = False
) -> DatabaseStore:
    """Open the state in a database, or create it; upgrade an older schema in one transaction.

    A process has one pool for it, also after a reload. `folder` has the locks of this host. Raises
    StoreError with the state unchanged: the server does not answer, is too old or a standby, the
    schema is newer or belongs to another, or a copy is `unfinished`, unless that is wanted.
    """
    with _OPENING:
        if (url, folder) not in _OPEN:
            _OPEN[url, folder] = _opened(url, folder, create=create, unfinished=unfinished)
        return _OPEN[url, folder]


def _opened(url: str, folder: Path, *, create: bool, unfinished: bool = False) -> DatabaseStore:
    name = display_name(url)
    pool: ConnectionPool[psycopg.Connection[Row]] = ConnectionPool(
        url,
        kwargs=keywords(),
        min_size=1,
        max_size=MOST_SESSIONS,
        timeout=CONNECT_SECONDS,
        reconnect_timeout=RETRY_SECONDS,
        check=ConnectionPool.check_connection,
        configure=configure,
        open=False,
        num_workers=1,
        name="state",
    )
    try:
        # one attempt with its own error: the pool would only say that time is over
        with connect(url) as first:
            if first.info.server_version < OLDEST:
                raise StoreError(f"{name}: PostgreSQL 14 or newer is needed")
            upgrade(first, name, create=create)
            if not unfinished and first.execute(UNFINISHED).fetchone() is not None:
                cure = "sereno state copy goes on with it"
                raise StoreError(f"{name}: the copy of a state file was interrupted; {cure}")
    except (psycopg.Error, UnicodeError) as error:
        raise StoreError(f"{name}: {reason(error)}; {_cure(error)}") from error
    pool.open()
    atexit.register(pool.close)
    return DatabaseStore(name, url, folder, pool)


def _cure(error: Exception) -> str:
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return "let the role of daemon.state own the database (docs/operations.md)"
    return "start the server, or correct daemon.state"


def _try_own(session: psycopg.Connection[Row]) -> bool:
    return bool(session.execute(_TRY_LOCK, (OWNING,)).fetchall()[0]["had"])
