"""The sessions of this process: verified against the remembered server, cancelled together."""

import contextlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import structlog

from daemon.context import Context
from daemon.history import history
from jobs.job import Job
from postgres.fencing import advisory_locks
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
        facts = opened.facts
        identity = (facts.system_identifier, facts.database_oid)
        with self._context.store.reading() as transaction:
            known = history.known_server(transaction, opened.target.name)
        if known is None and not remember:
            return
        if known is None:
            with self._context.store.transaction() as transaction:
                history.remember_server(
                    transaction, opened.target.name, identity, self._context.clock()
                )
        elif known != identity:
            raise TargetError(
                f"{opened.target.name}: another cluster or database answers than before (system "
                "identifier "
                f"{identity[0]}, was {known[0]}). If this is intended: sereno trust "
                f"{opened.target.name}"
            )

    def is_cluster_representative(self, opened: Session) -> bool:
        """Return whether no earlier database of the configuration is in the same cluster."""
        with self._context.store.reading() as transaction:
            for name in self._context.config.databases:
                known = history.known_server(transaction, name)
                if name == opened.target.name:
                    return True
                if known is not None and known[0] == opened.facts.system_identifier:
                    return False
        return True
