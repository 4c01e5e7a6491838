"""The sessions of this process: verified against the remembered server, cancelled together."""

import contextlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial

import psycopg
import structlog

from daemon.config.groups import FoundDatabase
from daemon.context import Context
from daemon.history import found_databases, history
from domain.task import Scope, Task, Trigger
from jobs.job import Job
from postgres.fencing import advisory_locks, run_claims
from postgres.fencing.delete_permission import is_installed
from postgres.session import MAINTAIN, Login, Session, TargetError, open_session

CANCEL_SECONDS = 8.0
AGAIN_SECONDS = 0.2

_log = structlog.get_logger("sessions")


def _cancel(opened: Session) -> None:
    with contextlib.suppress(psycopg.Error):
        opened.cancel()


class Sessions:
    """Opens sessions until `stop` is set."""

    def __init__(self, context: Context, stop: threading.Event) -> None:
        self._context = context
        self.stop = stop
        self._sessions: list[Session] = []
        self._guard = threading.Lock()

    def opened(self) -> list[Session]:
        """Return the open sessions."""
        with self._guard:
            return list(self._sessions)

    def cancel(self) -> None:
        """Cancel repeatedly until all sessions are closed.

        One between two statements misses a cancel.
        """
        deadline = time.monotonic() + CANCEL_SECONDS
        while sessions := self.opened():
            if time.monotonic() > deadline:
                _log.warning("cancel.failed", databases=[opened.target.name for opened in sessions])
                return
            cancels = [
                threading.Thread(target=_cancel, args=(opened,), daemon=True) for opened in sessions
            ]
            # one thread each: a server that does not answer must not delay the others
            for cancel in cancels:
                cancel.start()
            time.sleep(AGAIN_SECONDS)

    @contextmanager
    def open(
        self,
        database: str,
        job: Job,
        login: Login = MAINTAIN,
        *,
        read_only: bool = False,
    ) -> Iterator[Session]:
        """Open a session for a job. Raises Stopped."""
        target = self._context.target(database)
        with open_session(target, login, job.name, read_only=read_only) as opened:
            with self._guard:
                self._sessions.append(opened)
            try:
                # cancelled while connecting, when there was no session to cancel
                if self.stop.is_set():
                    raise advisory_locks.Stopped
                yield opened
            finally:
                with self._guard:
                    self._sessions.remove(opened)

    def verify_server(self, opened: Session, *, remember: bool = True) -> None:
        """Raise TargetError unless the server is the remembered one; remember it the first time."""
        server, name = server_in(opened), opened.target.name
        with self._context.store.reading() as transaction:
            known = history.known_server(transaction, name)
        if known is not None:
            require_same(name, server, known)
        if remember and (known is None or server.timeline > known.timeline):
            with self._context.store.transaction() as transaction:
                history.remember_server(transaction, name, server, self._context.clock())

    def is_prepared(self, opened: Session) -> bool:
        """Return whether a found database has the schema `sereno`, and remember it.

        Any other database counts as prepared: a job that cannot work in it says why.
        """
        database = self._context.config.databases[opened.target.name]
        if not isinstance(database, FoundDatabase):
            return True
        prepared = is_installed(opened)
        if prepared is not database.prepared:
            key = (database.group, opened.facts.database)
            record_prepared(self._context, key, prepared=prepared)
        return prepared

    def verify_history(self, opened: Session) -> None:
        """Raise TargetError if this state file is an older copy: a run that it did is unknown."""
        task = newest_claimed_task(self._context, opened)
        if task is None:
            return
        with self._context.store.reading() as transaction:
            known = history.knows_run(transaction, task)
        if not known:
            raise TargetError(
                f"{task.database}: {self._context.store.name} is an older copy: it does not know "
                f"the run of {task.job} of {task.trigger.minute()}, which it finished there. Stop "
                f"sereno and put the newest copy back; or go on with this one: sereno trust "
                f"{task.database}"
            )

    def is_cluster_representative(self, opened: Session) -> bool:
        """Return whether no earlier database of the configuration is in the same cluster."""
        server = opened.facts.system_identifier
        inside = self._context.recent.get(("databases", server), partial(self._inside, server))
        first = next(
            name
            for name in self._context.config.databases
            if name == opened.target.name or name in inside
        )
        return first == opened.target.name

    def _inside(self, server: str) -> frozenset[str]:
        """Return the databases that were met in a cluster."""
        with self._context.store.reading() as transaction:
            return history.databases_of_server(transaction, server)


def server_in(opened: Session) -> history.Server:
    """Return the server and the database that a session has met."""
    facts = opened.facts
    return history.Server(facts.system_identifier, facts.database_oid, facts.timeline)


def record_prepared(context: Context, key: tuple[str, str], *, prepared: bool) -> None:
    """Record whether a database (group and name) has the schema `sereno`. Raises StoreError."""
    deleting = [name for name, job in context.jobs.items() if job.deletes]
    with context.store.transaction() as transaction:
        found_databases.mark_prepared(
            transaction, key, context.clock(), prepared=prepared, deleting=deleting
        )


def newest_claimed_task(context: Context, opened: Session) -> Task | None:
    """Return the task that this state file finished last in a database; None if none is known."""
    config, state_id = context.config.daemon, context.store.instance()
    seconds = config.keep.total_seconds()
    claim = run_claims.newest_settled(opened, config.name, state_id, seconds)
    if claim is None:
        return None
    nominal = datetime.fromisoformat(claim.nominal)
    trigger = Trigger(claim.schedule, nominal)
    return Task(claim.job, Scope(claim.scope), opened.target.name, trigger)


def require_same(name: str, server: history.Server, known: history.Server) -> None:
    """Raise TargetError for another server or database, and for a former primary."""
    cure = f"If this is intended: sereno trust {name}"
    identity = (server.system_identifier, server.database_oid)
    if identity != (known.system_identifier, known.database_oid):
        raise TargetError(
            f"{name}: another cluster or database answers than before (system identifier "
            f"{server.system_identifier}, database oid {server.database_oid}; was "
            f"{known.system_identifier}, {known.database_oid}). {cure}"
        )
    if server.timeline < known.timeline:
        raise TargetError(
            f"{name}: the server is on timeline {server.timeline}, but timeline {known.timeline} "
            "was seen before: it is a former primary that should be shut down, or was restored "
            f"from a backup. {cure}"
        )
