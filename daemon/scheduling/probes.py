"""Probes: every few minutes a short look at each server: does it answer, and the watched checks."""

import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import psycopg
import structlog

from alerts import alert_store
from daemon.config.servers import addresses
from daemon.context import Context
from daemon.history import pause
from daemon.runs import dry_run
from daemon.runs.reaching import judge_reached, judge_unreachable
from domain.kinds import DATABASE_UNREACHABLE, SERVER_UNREACHABLE
from domain.task import Scope, Task
from execution.errors import first_line
from jobs.job import Verdict
from postgres.session import MAINTAIN, TargetError, open_session
from store.store import StoreError, Transaction

ALL_SECONDS = 300.0
"""The interval at which every database is probed; those that do not answer are, each time."""
AT_ONCE = 16
"""Servers looked at side by side, each in one session."""

_log = structlog.get_logger("probes")


class Probes:
    """Looks at every database at an interval; nothing is recorded but the alerts.

    A database or server that does not answer twice in a row is an alert; the next look resolves it.
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
            lost = _lost(transaction)
        first = {one: name for name, one in reversed(list(context.policy.servers.items()))}
        again = lost if paused else lost | self._silent
        due = {first.get(one, one) for one in again} - set(busy)
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
            probe = partial(self._probe_server, context, watched=watched, busy=busy)
            list(pool.map(probe, _by_server(context, databases)))
            for one in looks_at_host:
                self._record(context, "", one.result())

    def _probe_server(
        self,
        context: Context,
        databases: Sequence[str],
        *,
        watched: Collection[str],
        busy: Collection[str],
    ) -> None:
        """Look at the databases of a server in turn; none of the others once it is down."""
        shared = context.policy.servers
        for database in databases:
            address = shared.get(database, database)
            try:
                verdicts = self._look(context, database, watched)
            except TargetError as error:
                silent = address if error.of_server else database
                if database not in busy and silent in self._silent:
                    verdicts = [judge_unreachable(context.policy, database, error)]
                    self._record(context, database, verdicts)
                elif database not in busy:
                    self._silent.add(silent)
                if error.of_server:
                    return
            else:
                self._silent -= {database, address}
                self._record(context, database, verdicts)

    @staticmethod
    def _look(context: Context, database: str, watched: Collection[str]) -> list[Verdict]:
        with open_session(context.target(database), MAINTAIN, "probe"):
            reached = judge_reached(context.policy, database)
        if not watched:
            return [reached]
        task = Task("integrity_check", Scope.DATABASE, database)
        return [reached, *look(context, task, watched)]

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
    for databases in _by_server(context, context.config.databases):
        for database in databases:
            try:
                with open_session(context.target(database), MAINTAIN, "probe"):
                    pass
            except TargetError as error:
                _log.warning("database.unreachable", database=database, reason=str(error))
                if error.of_server:
                    break


def _lost(transaction: Transaction) -> set[str]:
    """Return the databases, and the addresses of servers, whose alert is open."""
    opened = alert_store.load_open(transaction)
    databases = {alert.database for alert in opened if alert.kind == DATABASE_UNREACHABLE.name}
    return databases | {alert.object for alert in opened if alert.kind == SERVER_UNREACHABLE.name}


def _by_server(context: Context, databases: Collection[str]) -> list[list[str]]:
    """Return the databases of each server."""
    servers: dict[str, list[str]] = {}
    for name, address in addresses(context.config).items():
        if name in databases:
            servers.setdefault(address, []).append(name)
    return list(servers.values())
