"""Checks that go on while the state file cannot be used: cheap, read-only, unrecorded."""

import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

import psycopg
import structlog

from daemon.config.servers import addresses
from daemon.context import Context
from daemon.runs import dry_run
from daemon.runs.reaching import judge_unreachable
from daemon.scheduling.tasks import tasks_of
from domain.finding import Finding
from domain.task import Task
from execution.errors import first_line
from execution.recent import RecentValues
from postgres.session import TargetError, UnreachableError
from store.state_file import EmptyStore
from store.store import StoreError

EVERY_SECONDS = 60.0
AT_ONCE = 16
"""Servers looked at side by side, each in one session."""

_log = structlog.get_logger("outage")


class OutageChecks:
    """Runs the checks in a thread, at most once per interval and never twice at once."""

    def __init__(
        self, send: Callable[[Finding], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._send, self._clock = send, clock
        self._thread: threading.Thread | None = None
        self._began = float("-inf")

    def start(self, context: Context) -> None:
        """Begin a round of checks, unless one is running or the last began a moment ago."""
        running = self._thread is not None and self._thread.is_alive()
        if running or self._clock() - self._began < EVERY_SECONDS:
            return
        self._began = self._clock()
        self._thread = threading.Thread(
            target=self._run, args=(context,), name="outage checks", daemon=True
        )
        self._thread.start()

    def _run(self, context: Context) -> None:
        for finding in read_findings(context):
            self._send(finding)


def read_findings(context: Context) -> Iterator[Finding]:
    """Yield the findings of the scheduled checks that are cheap.

    Nothing is read from the state file; no server is compared with the one seen before.
    """
    scheduled = {job for one in context.config.timetable.values() for job in one.jobs}
    jobs = [name for name in context.jobs if context.jobs[name].read_only and name in scheduled]
    names = {name for name, check in context.checks.items() if check.header.cost == "cheap"}
    without_state = replace(context, store=EmptyStore(Path("empty")), recent=RecentValues())
    servers = addresses(context.config)
    tasks: dict[str, list[Task]] = {}
    for task in tasks_of(without_state, jobs):
        tasks.setdefault(servers.get(task.database, ""), []).append(task)
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="outage check") as pool:
        begun = [pool.submit(_findings_of, without_state, some, names) for some in tasks.values()]
        for one in as_completed(begun):
            yield from one.result()


def _findings_of(
    context: Context, tasks: Sequence[Task], names: Collection[str]
) -> Sequence[Finding]:
    """Return the findings of a server's tasks; none of the others once it is down."""
    found: list[Finding] = []
    for task in tasks:
        try:
            for _, _, verdict in dry_run.run_checks(context, task, names):
                found += verdict.findings
        except UnreachableError as error:
            found += judge_unreachable(context.policy, task.database, error).findings
            if error.of_server:
                break
        except (TargetError, psycopg.Error, OSError, StoreError) as error:
            _log.error(
                "check.failed", task=task.job, database=task.database, reason=first_line(error)
            )
    return found
