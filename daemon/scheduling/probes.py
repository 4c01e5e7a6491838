"""Probes: every few minutes a short look at each server: does it answer, and the watched checks."""

import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psycopg
import structlog

from alerts import alert_store
from daemon.context import Context
from daemon.history import pause
from daemon.runs import dry_run
from daemon.runs.judging import judge_reached, judge_unreachable
from domain.kinds import DATABASE_UNREACHABLE
from domain.task import Scope, Task
from execution.errors import first_line
from jobs.job import Verdict
from postgres.session import MAINTAIN, TargetError, open_session
from store.store import StoreError

ALL_SECONDS = 300.0
"""The interval at which every database is probed; those that do not answer are, each time."""
AT_ONCE = 16

_log = structlog.get_logger("probes")


class Probes:
    """Looks at every database at an interval; nothing is recorded but the alerts.

    A database that lets sereno not in twice in a row is an alert; the next look resolves it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._silent: set[str] = set()
        self._all_at = self._clock()
        self._thread: threading.Thread | None = None

    def start(self, context: Context, busy: Collection[str]) -> None:
        """Look at the due databases in the background. Raises StoreError.

        During a pause only alerts about unreachable databases are resolved. The run of a `busy`
        database tells by itself that it cannot be reached.
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
        due = (lost if paused else lost | self._silent) - set(busy)
        looks = not paused and self._clock() - self._all_at >= ALL_SECONDS
        if looks:
            self._all_at = self._clock()
            due |= context.config.databases.keys()
        due &= context.config.databases.keys()
        if due:
            arguments = (context, due, frozenset(busy), looks)
            self._thread = threading.Thread(
                target=self._probe_all, args=arguments, name="probes", daemon=True
            )
            self._thread.start()

    def _probe_all(
        self,
        context: Context,
        databases: Collection[str],
        busy: Collection[str],
        looks: bool,  # noqa: FBT001 - of a thread
    ) -> None:
        watched = context.config.watch.checks if looks else ()
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="probe") as pool:
            host = Task("disk_check", Scope.HOST, "")
            looks_at_host = [pool.submit(look, context, host, watched)] if watched else []
            list(
                pool.map(lambda name: self._probe(context, name, watched, busy), sorted(databases))
            )
            for one in looks_at_host:
                self._record(context, "", one.result())

    def _probe(
        self, context: Context, database: str, watched: Collection[str], busy: Collection[str]
    ) -> None:
        verdicts = [judge_reached(database)]
        try:
            with open_session(context.target(database), MAINTAIN, "probe"):
                self._silent.discard(database)
            if watched:
                task = Task("integrity_check", Scope.DATABASE, database)
                verdicts += look(context, task, watched)
        except TargetError as error:
            if database in busy:
                return
            if database not in self._silent:
                self._silent.add(database)
                return
            instance = context.config.daemon.name
            verdicts = [judge_unreachable(instance, database, str(error))]
        self._record(context, database, verdicts)

    @staticmethod
    def _record(context: Context, database: str, verdicts: Sequence[Verdict]) -> None:
        try:
            for verdict in verdicts:
                context.process_findings(verdict.findings, verdict.coverage)
        except StoreError as error:
            _log.error("probe.not_recorded", database=database, error=str(error))


def look(context: Context, task: Task, names: Collection[str]) -> list[Verdict]:
    """Run some checks of a job in read-only sessions; return what these checks found.

    Raises TargetError if the server does not let sereno in. Any other error is logged.
    """
    some = replace(context, checks={name: context.checks[name] for name in names})
    try:
        return [
            Verdict(
                tuple(one for one in verdict.findings if one.kind in names),
                tuple(one for one in verdict.coverage if one.kind in names),
            )
            for *_, verdict in dry_run.run_checks(some, task, names)
        ]
    except (psycopg.Error, OSError, StoreError) as error:
        _log.error("check.failed", task=task.job, database=task.database, reason=first_line(error))
        return []


def warn_unreachable(context: Context) -> None:
    """Log each database that cannot be worked in; no alert, since no run was due."""
    for database in context.config.databases:
        try:
            with open_session(context.target(database), MAINTAIN, "probe"):
                pass
        except TargetError as error:
            _log.warning("database.unreachable", database=database, reason=str(error))
