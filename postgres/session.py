"""Sessions: opened with fixed settings, verified before use, cancelled from other threads."""

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import ExecStatus
from psycopg.rows import dict_row

from domain.cause import Cause
from postgres import copy, cost_settings
from postgres.closing import close_and_wait
from postgres.connect_errors import Attempt, connect_cure, is_down, lacks_database
from postgres.identifiers import quote_identifier
from postgres.session_settings import CLIENT, CONNECT_SECONDS, LOCK_TIMEOUT_MILLISECONDS, SERVER
from postgres.statement_file import read_statement

OLDEST = 140000
SHARED_STATISTICS_SINCE = 150000
"""Before this version statistics arrive up to half a second late, through a collector process."""
_GONE = {"57P01", "57P02", "57P03"}

_FACTS = read_statement("postgres", "session_facts")
_ANALYSED = "sereno_analysed"
_DEALLOCATE = sql.SQL("DEALLOCATE {}").format(sql.Identifier(_ANALYSED))

Query = sql.SQL | sql.Composed | bytes
Rows = list[dict[str, Any]]


class TargetError(Exception):
    """The server is not one that sereno may work on; the message has reason and cure."""

    cause = Cause.REFUSED
    of_server = False
    """Whether no database of the server can be reached."""
    lacks_database = False
    """Whether the server answers and has no such database."""


class UnreachableError(TargetError):
    """The server does not answer, or rejects the login."""


class LostError(UnreachableError):
    """The connection was lost during the work."""


def is_lost(error: BaseException) -> bool:
    """Return whether an error means that connection or server is gone (SQLSTATE 08, 57P0x)."""
    if not isinstance(error, psycopg.OperationalError):
        return False
    return error.sqlstate is None or error.sqlstate.startswith("08") or error.sqlstate in _GONE


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user and, where the server asks for one, a password."""

    user: str
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, order=True)
class Login:
    """A login by its purpose; `data` and `owner` belong to one trust domain each."""

    kind: Literal["maintain", "data", "owner", "migrate"] = "maintain"
    domain: str = ""
    """The name of the domain; empty if the configuration declares none."""

    def __str__(self) -> str:
        """Return its key below `databases.<name>` in the configuration."""
        return f"domains.{self.domain}.{self.kind}" if self.domain else self.kind


MAINTAIN = Login()
MIGRATE = Login("migrate")


@dataclass(frozen=True, slots=True)
class Target:
    """One configured database and its logins."""

    name: str
    conninfo: str = field(repr=False)
    logins: Mapping[Login, Credentials] = field(default_factory=dict)
    """The logins; empty if the connection string alone is used, for everything."""
    timezone: str = "UTC"
    allow_privileged_dml: bool = False
    domains: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """The owners of each declared trust domain."""
    trust: tuple[frozenset[str], ...] = ()
    """Sets of owners that trust each other."""
    migrate_role: str = ""
    """The owner that the `migrate` login becomes; empty if it is to stay itself."""
    migrate_path: tuple[str, ...] = ("public",)
    """The schemas in which unqualified names of a migration are looked up."""
    application_roles: tuple[str, ...] = ()
    """The roles of applications that may read `sereno.maintenance`."""

    def login(self, wanted: Login) -> Login:
        """Return the login to use: without any configured one the connection string's own."""
        return wanted if self.logins else MAINTAIN


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts that the server reported when the session was opened."""

    version: int
    system_identifier: str
    database: str
    database_oid: int
    user: str
    pid: int
    timeline: int


class Session:
    """An open connection in autocommit mode."""

    def __init__(
        self,
        connection: psycopg.Connection[dict[str, Any]],
        target: Target,
        facts: Facts,
        login: Login,
    ) -> None:
        self._connection = connection
        self.target = target
        self.login = login
        self.facts = facts
        self._gentle: bool | None = None
        self._undisturbed = False
        self._lock_milliseconds = LOCK_TIMEOUT_MILLISECONDS
        self.keeps_plans = True

    def rows(
        self,
        statement: Query,
        parameters: Sequence[object] | Mapping[str, object] | None = None,
        *,
        keep: bool = True,
    ) -> Rows:
        """Return the rows of one statement; `keep` refuses a second one, and keeps the plan."""
        with self._connection.cursor() as cursor:
            cursor.execute(statement, parameters, prepare=keep and self.keeps_plans)
            return cursor.fetchall()

    def columns(self, statement: Query) -> list[tuple[str, int]]:
        """Run one statement and return the name and type oid of each column of its result."""
        with self._connection.cursor() as cursor:
            cursor.execute(statement)
            return [(column.name, column.type_code) for column in cursor.description or ()]

    def analyse(self, statement: sql.Composed) -> None:
        """Have the server parse, analyse and rewrite one statement, without planning or running it.

        Its relations stay locked until the end of the transaction. Raises psycopg.Error, also for a
        second statement behind a `;`.
        """
        pgconn = self._connection.pgconn
        result = pgconn.prepare(_ANALYSED.encode(), statement.as_bytes(self._connection))
        if result.status != ExecStatus.COMMAND_OK:
            raise psycopg.errors.error_from_result(result, self._connection.info.encoding)
        self.execute(_DEALLOCATE)

    def copy_out(self, statement: sql.Composed, write: copy.Write) -> int:
        """Run COPY ... TO STDOUT into `write`; return the rows. An exception of `write` ends it."""
        return copy.copy_out(self._connection, statement.as_bytes(self._connection), write)

    def copy_in(self, statement: Query, pieces: Iterable[bytes]) -> int:
        """Run COPY ... FROM STDIN; return the rows. An exception of the pieces undoes all of it."""
        with self._connection.cursor() as cursor:
            with cursor.copy(statement) as copy:
                for piece in pieces:
                    copy.write(piece)
            return cursor.rowcount

    def execute(self, statement: Query, parameters: Sequence[object] | None = None) -> int:
        """Run one statement; return the number of rows affected."""
        with self._connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.rowcount

    @contextmanager
    def transaction(
        self, *, read_only: bool = False, repeatable: bool = False, undone: bool = False
    ) -> Iterator[None]:
        """Commit the body as one transaction, or roll it back on any exception.

        `read_only` holds whatever default a trigger may have set; `repeatable` is REPEATABLE READ.
        An `undone` one is rolled back at its end: within another, that releases its locks.
        """
        with self._connection.transaction(force_rollback=undone):
            if read_only:
                self.execute(sql.SQL("SET TRANSACTION READ ONLY"))
            if repeatable:
                self.execute(sql.SQL("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
            yield

    def set_timeouts(
        self, seconds: float, lock_milliseconds: int = LOCK_TIMEOUT_MILLISECONDS
    ) -> None:
        """Limit each following statement to `seconds` (at least 1 ms), and its waits for locks.

        A lock timeout of 0 is unlimited; only for statements that are watched.
        """
        self.execute(
            sql.SQL("SET statement_timeout = {}").format(sql.Literal(max(1, int(seconds * 1000))))
        )
        if lock_milliseconds != self._lock_milliseconds:
            self.execute(sql.SQL("SET lock_timeout = {}").format(sql.Literal(lock_milliseconds)))
            self._lock_milliseconds = lock_milliseconds

    def superuser(self) -> bool:
        """Return whether the login is a superuser."""
        query = sql.SQL("SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user")
        return bool(self.rows(query)[0]["rolsuper"])

    def flush_statistics(self) -> None:
        """Make the server count this session's changes now.

        From 15 on it would wait up to a second.
        """
        if self.facts.version >= SHARED_STATISTICS_SINCE:
            self.rows(sql.SQL("SELECT pg_stat_force_next_flush()"))

    def set_cost(self, *, gentle: bool) -> None:
        """Set cost delays and parallel workers for VACUUM, ANALYZE and REINDEX."""
        if gentle is not self._gentle:
            self.rows(cost_settings.SET, cost_settings.GENTLE if gentle else cost_settings.FULL)
            self._gentle = gentle

    def cancel(self) -> None:
        """Cancel the current statement from another thread, unless it must not be cancelled."""
        if not self._undisturbed:
            self._connection.cancel_safe(timeout=CONNECT_SECONDS)

    @contextmanager
    def uncancellable(self) -> Iterator[None]:
        """Keep `cancel` from reaching a clean-up; one already sent may still arrive."""
        self._undisturbed = True
        try:
            yield
        finally:
            self._undisturbed = False

    def close(self) -> None:
        """Close the session, and wait up to a second for its end in the server."""
        close_and_wait(self._connection)

    def answers(self) -> bool:
        """Return whether the server still answers in this session."""
        try:
            return bool(self.rows(sql.SQL("SELECT 1")))
        except psycopg.Error:
            return False

    @property
    def broken(self) -> bool:
        """Return whether the connection was lost."""
        return self._connection.broken


@contextmanager
def open_session(
    target: Target, login: Login, task: str, *, read_only: bool = False
) -> Iterator[Session]:
    """Open a session named `sereno/<task>` and close it at the end.

    Raises UnreachableError if nothing answers; TargetError if it is too old, a standby or a pooler,
    or if the login is not configured.
    """
    opened = _open(target, target.login(login), task, read_only=read_only)
    # code of an owner runs in such a session, and could replace a prepared statement
    opened.keeps_plans = login.kind != "migrate"
    try:
        yield opened
    finally:
        opened.close()


def _open(target: Target, login: Login, task: str, *, read_only: bool) -> Session:
    nonce = secrets.token_hex(8)
    options = {**SERVER, "sereno.session": nonce, "timezone": target.timezone}
    overrides = _user(target, login) | {"application_name": f"sereno/{task}", **CLIENT}
    flags = " ".join(f"-c {name}={_escaped(str(value))}" for name, value in options.items())
    try:
        connection = psycopg.connect(
            target.conninfo, **overrides, options=flags, row_factory=dict_row, autocommit=True
        )
    except psycopg.OperationalError as error:
        raise _refusal(target, login, overrides, error) from None
    try:
        facts = _read_facts(connection, target.name, nonce)
        if read_only:
            # set afterwards, since libpq's target_session_attrs=read-write looks at it
            connection.execute("SET default_transaction_read_only = on")
        return Session(connection, target, facts, login)
    except psycopg.errors.InsufficientPrivilege as error:
        user = quote_identifier(connection.info.user)
        connection.close()
        raise TargetError(
            f"{target.name}: {connect_reason(error)}, by which sereno knows the server; as a "
            f"superuser: GRANT EXECUTE ON FUNCTION pg_catalog.pg_control_system() TO {user};"
        ) from None
    except psycopg.Error as error:
        connection.close()
        raise UnreachableError(f"{target.name}: {connect_reason(error)}") from None
    except BaseException:
        connection.close()
        raise


def _user(target: Target, login: Login) -> dict[str, Any]:
    if not target.logins:
        return {}
    credentials = target.logins.get(login)
    if credentials is None:
        raise TargetError(f"databases.{target.name}.{login} is not configured")
    found: dict[str, Any] = {"user": credentials.user}
    if credentials.password is not None:
        found["password"] = credentials.password
    return found


def _escaped(value: str) -> str:
    """Escape a value of libpq's `options` parameter."""
    return value.replace("\\", "\\\\").replace(" ", "\\ ")


def _read_facts(connection: psycopg.Connection[dict[str, Any]], name: str, nonce: str) -> Facts:
    row = connection.execute(_FACTS).fetchone()
    assert row is not None  # noqa: S101 - a SELECT without FROM has one row
    standby, answered = row.pop("standby"), row.pop("nonce")
    if row["version"] < OLDEST:
        raise _too_old(name, row["version"])
    if answered != nonce or row["pid"] != connection.info.backend_pid:
        raise TargetError(
            f"{name}: a connection pooler answers, not the server: session locks and settings "
            "would leak into other "
            "sessions. Give the server's own address in databases." + name + ".dsn"
        )
    if standby:
        raise TargetError(f"{name}: the server is a standby; sereno works on the primary only")
    # the timeline in the control file changes only with the first checkpoint after a promotion
    return Facts(**{**row, "timeline": int(row["timeline"], 16)})


def _too_old(name: str, version: int) -> TargetError:
    return TargetError(
        f"{name}: PostgreSQL {version // 10000} is too old; sereno needs 14 or newer"
    )


def _refusal(
    target: Target, login: Login, overrides: Mapping[str, Any], error: psycopg.OperationalError
) -> TargetError:
    """Return why the server rejected the session: a setting unknown to it, or a pooler."""
    of_server = is_down(make_conninfo(target.conninfo, **overrides), str(error))
    try:
        if of_server:
            raise error
        with psycopg.connect(target.conninfo, **overrides) as plain:
            if plain.info.server_version < OLDEST:
                return _too_old(target.name, plain.info.server_version)
            if plain.info.backend_pid != plain.execute("SELECT pg_backend_pid()").fetchone()[0]:  # type: ignore[index]
                return TargetError(
                    f"{target.name}: a connection pooler answers, not the server. "
                    f"Give the server's own address in databases.{target.name}.dsn"
                )
    except psycopg.Error:
        pass
    reason = connect_reason(error)
    used = conninfo_to_dict(target.conninfo, **overrides)
    user = str(used.get("user") or "")
    attempt = Attempt(target.name, str(login), user, str(used.get("dbname") or user))
    cure = connect_cure(reason, attempt)
    refused = UnreachableError(f"{target.name}: {reason}" + (f"; {cure}" if cure else ""))
    refused.of_server, refused.lacks_database = of_server, lacks_database(reason)
    return refused


def connect_reason(error: psycopg.Error) -> str:
    """Return the first line of a connection's error; libpq never includes the password."""
    lines = str(error).strip().splitlines()
    if not lines:
        return type(error).__name__
    return lines[0].removeprefix("connection is bad: ").removeprefix("connection failed: ")
