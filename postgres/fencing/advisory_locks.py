"""Two-level advisory locks: one coordinator per database, and no worker of a former coordinator.

The coordinator holds L exclusively; every working session holds W shared. A successor takes L, then
W exclusively, which succeeds only after the predecessor's last worker has gone, and releases W.
They are session locks, polled: a blocking request waits inside a transaction and would deadlock
with CREATE INDEX CONCURRENTLY.

Migrations have two of their own. The runner of migrations holds M exclusively, one per database,
and a successor waits until the sessions of the predecessor's `migrate` login have gone. A session
that changes tables holds C for as long as it does: maintenance pauses meanwhile.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import psycopg
from psycopg import sql

from postgres.session import Query, Rows, Session

_CLASS = int.from_bytes(b"sern")
_COORDINATOR, _WORKER, _MIGRATION_RUNNER, CHANGES = 1, 2, 3, 4
LOCK_CLASS = _CLASS
POLL_SECONDS = 0.2
SLOW_POLL_SECONDS = 1.0
SOON_SECONDS = 15.0

Mode = Literal["exclusive", "shared"]

_TRY: dict[Mode, Query] = {
    "exclusive": sql.SQL("SELECT pg_try_advisory_lock(%s, %s) AS had"),
    "shared": sql.SQL("SELECT pg_try_advisory_lock_shared(%s, %s) AS had"),
}
_HOLDERS = sql.SQL(
    """
    SELECT l.pid, a.application_name AS application, a.usename::text AS login,
           a.usename <> session_user AND NOT coalesce(pg_catalog.has_schema_privilege(
             a.usesysid, to_regnamespace('sereno')::oid, 'USAGE'), false) AS foreign
    FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a USING (pid)
    WHERE l.locktype = 'advisory' AND l.granted AND l.classid = %s AND l.objid = %s
      AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
      AND l.pid <> pg_backend_pid()
    ORDER BY l.pid
    """
)


class Stopped(Exception):  # noqa: N818 - control flow: the service stops
    """The wait for a lock was stopped."""


class Busy(Exception):  # noqa: N818 - control flow, not an error
    """Another sereno is working on this database."""


class ForeignHolderError(Exception):
    """A login that is not sereno's holds the lock, which any user of the database can take."""


@contextmanager
def coordinator_lock(
    session: Session, patience_seconds: float, stopped: Callable[[], bool] = lambda: False
) -> Iterator[None]:
    """Hold L for the body.

    Raises Busy with its holder after the patience, Stopped if `stopped`, ForeignHolderError.
    """
    deadline = time.monotonic() + patience_seconds
    _poll(session, _COORDINATOR, "exclusive", deadline, stopped)
    try:
        _poll(session, _WORKER, "exclusive", deadline, stopped)
        _release(session, _WORKER)
        yield
    finally:
        with contextlib.suppress(psycopg.OperationalError):  # a lost session has released it
            _release(session, _COORDINATOR)


_SESSIONS_OF = sql.SQL(
    """
    SELECT pid, application_name AS application FROM pg_catalog.pg_stat_activity
    WHERE datname = current_database() AND usename = %s AND pid <> pg_backend_pid()
      AND backend_type = 'client backend'
    ORDER BY pid
    """
)


@contextmanager
def migration_lock(
    session: Session, user: str, patience_seconds: float, stopped: Callable[[], bool]
) -> Iterator[None]:
    """Hold M for the body, after the sessions of an earlier runner have gone.

    `user` is the `migrate` login; empty if the login is shared, then only M is waited for. Raises
    Busy, Stopped or ForeignHolderError.
    """
    deadline = time.monotonic() + patience_seconds
    _poll(session, _MIGRATION_RUNNER, "exclusive", deadline, stopped)
    try:
        while user and (left := session.rows(_SESSIONS_OF, (user,))):
            if stopped():
                raise Stopped
            if time.monotonic() >= deadline:
                holder = f"pid {left[0]['pid']} ({left[0]['application'] or 'no name'})"
                raise Busy(
                    f"{session.target.name}: a session of {user} is still connected: {holder}"
                )
            time.sleep(POLL_SECONDS)
        yield
    finally:
        with contextlib.suppress(psycopg.OperationalError):
            _release(session, _MIGRATION_RUNNER)


@contextmanager
def changes_lock(session: Session) -> Iterator[None]:
    """Hold C for the body: tables are being changed.

    It is a signal to sereno's own maintenance. Where a stranger holds it, the body runs without.
    """
    had = bool(session.rows(_TRY["exclusive"], (_CLASS, CHANGES))[0]["had"])
    try:
        yield
    finally:
        with contextlib.suppress(psycopg.OperationalError):
            if had:
                _release(session, CHANGES)


def take_worker_lock(session: Session) -> None:
    """Take W shared for the life of the session. Raises Busy if a new coordinator takes over."""
    _poll(session, _WORKER, "shared", time.monotonic() + 5)


def verify_coordinator_lock(session: Session) -> None:
    """Raise psycopg.OperationalError unless the session, and with it the lock, still exists."""
    session.rows(sql.SQL("SELECT 1"))


def _poll(
    session: Session,
    key: int,
    mode: Mode,
    deadline: float,
    stopped: Callable[[], bool] = lambda: False,
) -> None:
    began = time.monotonic()
    while not session.rows(_TRY[mode], (_CLASS, key))[0]["had"]:
        if stopped():
            raise Stopped
        holders = session.rows(_HOLDERS, (_CLASS, key))
        _require_own(session.target.name, holders)
        if time.monotonic() >= deadline:
            holder = "a session now gone"
            if holders:
                holder = f"pid {holders[0]['pid']} ({holders[0]['application']})"
            raise Busy(f"{session.target.name}: another sereno is working there: {holder}")
        time.sleep(POLL_SECONDS if time.monotonic() - began < SOON_SECONDS else SLOW_POLL_SECONDS)


def _require_own(name: str, holders: Rows) -> None:
    """Raise ForeignHolderError unless every holder may use the schema sereno, as our logins do."""
    for row in holders:
        if row["foreign"]:
            raise ForeignHolderError(
                f"{name}: {row['login']} (pid {row['pid']}, {row['application'] or 'no name'}) "
                "holds the lock of sereno and blocks every run; end that session: SELECT "
                f"pg_terminate_backend({row['pid']})"
            )


def _release(session: Session, key: int) -> None:
    session.rows(sql.SQL("SELECT pg_advisory_unlock(%s, %s)"), (_CLASS, key))
