"""Probes: short logins that find out whether the servers answer, between their runs."""

import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor

import structlog

from alerts import alert_store
from daemon.context import Context
from daemon.history import pause
from daemon.runs.judging import judge_reached, judge_unreachable
from domain.kinds import DATABASE_UNREACHABLE
from postgres.session import MAINTAIN, TargetError, open_session
from store.store import StoreError

ALL_SECONDS = 300.0
"""The interval at which every database is probed; those that do not answer are, each time."""
AT_ONCE = 16

_log = structlog.get_logger("probes")


class Probes:
    """Opens the alert about a database that lets sereno not in twice in a row, and resolves it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._silent: set[str] = set()
        self._all_at = self._clock()
        self._thread: threading.Thread | None = None

    def start(self, context: Context, busy: Collection[str]) -> None:
        """Probe the due databases in the background, except those with a run. Raises StoreError.

        During a pause only alerts are resolved.
        """
        if self._thread is not None and self._thread.is_alive():
            return
        with context.store.reading() as transaction:
            paused = pause.paused(transaction, context.clock()) is not None
            lost = {
                alert.database
                for alert in alert_store.load_open(transaction)
                if alert.kind == DATABASE_UNREACHABLE.name
            }
        due = lost if paused else lost | self._silent
        if not paused and self._clock() - self._all_at >= ALL_SECONDS:
            self._all_at = self._clock()
            due |= context.config.databases.keys()
        due = (due & context.config.databases.keys()) - set(busy)
        if due:
            self._thread = threading.Thread(
                target=self._probe_all, args=(context, due), name="probes", daemon=True
            )
            self._thread.start()

    def _probe_all(self, context: Context, databases: Collection[str]) -> None:
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="probe") as pool:
            list(pool.map(lambda name: self._probe(context, name), sorted(databases)))

    def _probe(self, context: Context, database: str) -> None:
        verdict = judge_reached(database)
        try:
            with open_session(context.target(database), MAINTAIN, "probe"):
                self._silent.discard(database)
        except TargetError as error:
            if database not in self._silent:
                self._silent.add(database)
                return
            instance = context.config.daemon.name
            verdict = judge_unreachable(instance, database, str(error))
        try:
            context.process_findings(verdict.findings, verdict.coverage)
        except StoreError as error:
            _log.error("probe.not_recorded", database=database, error=str(error))


def warn_unreachable(context: Context) -> None:
    """Log each database that cannot be worked in; no alert, since no run was due."""
    for database in context.config.databases:
        try:
            with open_session(context.target(database), MAINTAIN, "probe"):
                pass
        except TargetError as error:
            _log.warning("database.unreachable", database=database, reason=str(error))
