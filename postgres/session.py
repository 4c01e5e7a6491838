"""The one door to a server: how a session is opened, what it is asked before it is trusted, how it is cancelled."""

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from postgres import copy, cost_settings
from postgres.session_settings import CLIENT, CONNECT_SECONDS, LOCK_TIMEOUT_MILLISECONDS, SERVER

OLDEST = 140000
SHARED_STATISTICS_SINCE = 150000
"""Before, a process of their own gathers them, up to half a second later."""
_GONE = {"57P01", "57P02", "57P03"}

Login = Literal["maintain", "data"]
Statement = sql.SQL | sql.Composed | bytes
Rows = list[dict[str, Any]]


class TargetError(Exception):
    """The server is not one that we may work on; the sentence says why and what to do."""


class UnreachableError(TargetError):
    """No server answers, or it does not let us in."""


class LostError(UnreachableError):
    """The connection was lost in the middle of the work."""


def lost(error: BaseException) -> bool:
    """Say whether an error means that the connection, or the server behind it, has gone (SQLSTATE 08…, 57P0x)."""
    if not isinstance(error, psycopg.OperationalError):
        return False
    return error.sqlstate is None or error.sqlstate.startswith("08") or error.sqlstate in _GONE


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user and, where the server asks for one, a password."""

    user: str
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Target:
    """One configured database and the ways into it."""

    name: str
    conninfo: str = field(repr=False)
    logins: Mapping[Login, Credentials] = field(default_factory=dict)
    timezone: str = "UTC"
    allow_privileged_dml: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """What a server said of itself when the session was opened."""

    version: int
    system_identifier: str
    database: str
    database_oid: int
    user: str
    pid: int


class Session:
    """An open connection in autocommit mode; a transaction is begun only where one is wanted."""

    def __init__(self, connection: psycopg.Connection[dict[str, Any]], target: Target, facts: Facts) -> None:
        self._connection = connection
        self.target = target
        self.facts = facts
        self._gentle: bool | None = None
        self._undisturbed = False
        self._lock_milliseconds = LOCK_TIMEOUT_MILLISECONDS

    def rows(self, statement: Statement, parameters: Sequence[object] | Mapping[str, object] | None = None) -> Rows:
        """Run one statement that answers with rows. By the extended protocol: a second one behind a `;` is refused."""
        with self._connection.cursor() as cursor:
            cursor.execute(statement, parameters, prepare=True)
            return cursor.fetchall()

    def copy_out(self, statement: sql.Composed, write: copy.Write) -> int:
        """Run a COPY … TO STDOUT, give its rows to `write`, return how many. What `write` raises ends it."""
        return copy.copy_out(self._connection, statement.as_bytes(self._connection), write)

    def copy_in(self, statement: Statement, pieces: Iterable[bytes]) -> int:
        """Run a COPY … FROM STDIN; return how many rows. What the pieces raise ends it, and nothing of it stays."""
        with self._connection.cursor() as cursor:
            with cursor.copy(statement) as copy:
                for piece in pieces:
                    copy.write(piece)
            return cursor.rowcount

    def execute(self, statement: Statement, parameters: Sequence[object] | None = None) -> int:
        """Run one statement; return how many rows it touched."""
        with self._connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.rowcount

    @contextmanager
    def transaction(self, *, read_only: bool = False, repeatable: bool = False) -> Iterator[None]:
        """Commit the body as one; roll back on any exception. Read only, whatever the session's default has become.

        `repeatable`: all of it sees one snapshot (REPEATABLE READ).
        """
        with self._connection.transaction():
            if read_only:
                self.execute(sql.SQL("SET TRANSACTION READ ONLY"))
            if repeatable:
                self.execute(sql.SQL("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
            yield

    def allow(self, seconds: float, lock_milliseconds: int = LOCK_TIMEOUT_MILLISECONDS) -> None:
        """Let each following statement take that long (at least a millisecond: 0 would mean for ever).

        And wait so long for a lock; 0 is for ever, and only for what is watched.
        """
        self.execute(sql.SQL("SET statement_timeout = {}").format(sql.Literal(max(1, int(seconds * 1000)))))
        if lock_milliseconds != self._lock_milliseconds:
            self.execute(sql.SQL("SET lock_timeout = {}").format(sql.Literal(lock_milliseconds)))
            self._lock_milliseconds = lock_milliseconds

    def superuser(self) -> bool:
        """Say whether the login is one."""
        query = sql.SQL("SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user")
        return bool(self.rows(query)[0]["rolsuper"])

    def report(self) -> None:
        """Let the server count now what this session has changed; else it does so up to a second later (from 15 on)."""
        if self.facts.version >= SHARED_STATISTICS_SINCE:
            self.rows(sql.SQL("SELECT pg_stat_force_next_flush()"))

    def go(self, *, gentle: bool) -> None:
        """Let VACUUM and ANALYZE take a breath now and then, or none; and them and REINDEX have no helpers, or some."""
        if gentle is not self._gentle:
            self.rows(cost_settings.SET, cost_settings.GENTLE if gentle else cost_settings.FULL)
            self._gentle = gentle

    def cancel(self) -> None:
        """Cancel the statement in flight, from another thread; the session lives on. Not one that cleans up."""
        if not self._undisturbed:
            self._connection.cancel_safe(timeout=CONNECT_SECONDS)

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Let no cancel reach what has to be cleaned up; one that is on its way still may."""
        self._undisturbed = True
        try:
            yield
        finally:
            self._undisturbed = False

    def close(self) -> None:
        """End the session; the server lets its locks go."""
        self._connection.close()

    @property
    def broken(self) -> bool:
        """Whether the connection was lost."""
        return self._connection.broken


@contextmanager
def session(target: Target, login: Login, task: str, *, read_only: bool = False) -> Iterator[Session]:
    """Open a session as `sereno/<task>`; close it at the end.

    UnreachableError: nobody answered. TargetError: too old, a standby, a connection pooler in between.
    """
    opened = _open(target, login, task, read_only=read_only)
    try:
        yield opened
    finally:
        opened.close()


def administrator(conninfo: str, name: str) -> psycopg.Connection[dict[str, Any]]:
    """Open a plain connection for `sereno install`, as whoever the DBA says; UnreachableError as above."""
    try:
        return psycopg.connect(conninfo, application_name="sereno/install", row_factory=dict_row, autocommit=True)
    except psycopg.OperationalError as error:
        raise UnreachableError(f"{name}: {_plain(error)}") from None
    except psycopg.ProgrammingError:
        raise UnreachableError(f'{name}: the DSN cannot be read (like "host=/run/postgresql dbname=coop")') from None


def _open(target: Target, login: Login, task: str, *, read_only: bool) -> Session:
    nonce = secrets.token_hex(8)
    options = {**SERVER, "sereno.session": nonce, "timezone": target.timezone}
    if read_only:
        options["default_transaction_read_only"] = "on"
    overrides = _user(target, login) | {"application_name": f"sereno/{task}", **CLIENT}
    flags = " ".join(f"-c {name}={_escaped(str(value))}" for name, value in options.items())
    try:
        connection = psycopg.connect(target.conninfo, **overrides, options=flags, row_factory=dict_row, autocommit=True)
    except psycopg.OperationalError as error:
        raise _refusal(target, overrides, error) from None
    try:
        return Session(connection, target, _acquaint(connection, target.name, nonce))
    except psycopg.Error as error:
        connection.close()
        raise UnreachableError(f"{target.name}: {_plain(error)}") from None
    except BaseException:
        connection.close()
        raise


def _user(target: Target, login: Login) -> dict[str, Any]:
    credentials = target.logins.get(login) or target.logins.get("maintain")
    if credentials is None:
        return {}
    found: dict[str, Any] = {"user": credentials.user}
    if credentials.password is not None:
        found["password"] = credentials.password
    return found


def _escaped(value: str) -> str:
    """Escape a value of the `options` parameter (libpq: a backslash before blanks and backslashes)."""
    return value.replace("\\", "\\\\").replace(" ", "\\ ")


def _acquaint(connection: psycopg.Connection[dict[str, Any]], name: str, nonce: str) -> Facts:
    row = connection.execute(
        """
        SELECT current_setting('server_version_num')::int AS version,
               (SELECT system_identifier::text FROM pg_control_system()) AS system_identifier,
               current_database() AS database,
               (SELECT oid::bigint FROM pg_database WHERE datname = current_database()) AS database_oid,
               current_user::text AS user,
               pg_backend_pid() AS pid,
               pg_is_in_recovery() AS standby,
               current_setting('sereno.session', true) AS nonce
        """
    ).fetchone()
    assert row is not None  # noqa: S101 - a SELECT without FROM has one row
    standby, said = row.pop("standby"), row.pop("nonce")
    if row["version"] < OLDEST:
        raise _too_old(name, row["version"])
    if said != nonce or row["pid"] != connection.info.backend_pid:
        raise TargetError(
            f"{name}: a connection pooler answers, not the server: session locks and settings would leak into other "
            "sessions. Give the address of the server itself in databases." + name + ".dsn"
        )
    if standby:
        raise TargetError(f"{name}: the server is a standby; sereno works on the primary only")
    return Facts(**row)


def _too_old(name: str, version: int) -> TargetError:
    return TargetError(f"{name}: PostgreSQL {version // 10000} is too old; sereno needs 14 or newer")


def _refusal(target: Target, overrides: Mapping[str, Any], error: psycopg.OperationalError) -> TargetError:
    """Find out why we were not let in: an old server knows not all of the settings, a pooler takes none."""
    try:
        with psycopg.connect(target.conninfo, **overrides) as plain:
            if plain.info.server_version < OLDEST:
                return _too_old(target.name, plain.info.server_version)
            if plain.info.backend_pid != plain.execute("SELECT pg_backend_pid()").fetchone()[0]:  # type: ignore[index]
                return TargetError(
                    f"{target.name}: a connection pooler answers, not the server. "
                    f"Give the address of the server itself in databases.{target.name}.dsn"
                )
    except psycopg.Error:
        pass
    return UnreachableError(f"{target.name}: {_plain(error)}")


def _plain(error: psycopg.Error) -> str:
    """Return the first line of an error (libpq never puts the password there)."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
