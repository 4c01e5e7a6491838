"""The tasks of a list of jobs, and those that a due time still owes."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime

from daemon.config.groups import FoundDatabase
from daemon.config.model import Database
from daemon.context import Context
from daemon.history import history
from daemon.runs.result import RunState
from daemon.scheduling.turns import PastRun, in_turn
from domain.cause import Cause
from domain.finding import Finding
from domain.task import NOW, Scope, Task, Trigger
from domain.units import some_of

SKIPPED = RunState.SKIPPED.value
CHECK_JOBS = ("integrity_check", "disk_check")
"""The jobs of checks that end within minutes; corruption_check is spread over nights."""


def tasks_of(
    context: Context,
    jobs: Sequence[str],
    trigger: Trigger = NOW,
    only: Collection[str] | None = None,
) -> Iterator[Task]:
    """Yield the tasks of jobs in order, in every place where the configuration gives a job work.

    Databases with a greater priority come first; `only` restricts them. A found database without
    the schema `sereno` gets no task that deletes.
    """
    for job in (context.jobs[name] for name in jobs):
        for scope in job.scopes:
            if not job.wanted(context.config.job(job.name), scope):
                continue
            if scope is not Scope.DATABASE:
                yield Task(job.name, scope, "", trigger)
                continue
            for database, one in _by_priority(context):
                lacks = job.deletes and isinstance(one, FoundDatabase) and one.prepared is False
                if (only is None or database in only) and not lacks:
                    yield Task(job.name, scope, database, trigger)


def left_out(
    context: Context, jobs: Sequence[str], only: Collection[str] | None = None
) -> list[str]:
    """Return a sentence for each group with databases in which jobs that delete have no task."""
    deleting = [name for name in jobs if context.jobs[name].deletes]
    lacking: dict[str, list[str]] = {}
    for name, one in context.config.databases.items():
        if not isinstance(one, FoundDatabase) or one.prepared is not False:
            continue
        if only is None or name in only:
            lacking.setdefault(one.group, []).append(name)
    return [
        f"{', '.join(deleting)}: not in {some_of(names)}, where sereno is not installed: "
        f"sereno install --discover {group} --admin DSN"
        for group, names in lacking.items()
        if deleting
    ]


def _by_priority(context: Context) -> list[tuple[str, Database]]:
    return sorted(context.config.databases.items(), key=lambda item: -item[1].priority)


def known_since(context: Context, task: Task, now: datetime) -> datetime:
    """Return since when a task can be planned: now, or since a found database was not there yet."""
    database = context.config.databases.get(task.database)
    if isinstance(database, FoundDatabase) and database.since is not None:
        return min(database.since, now)
    return now


def record_unrun(
    context: Context, tasks: Iterable[Task], reason: str, cause: Cause, finding: Finding
) -> None:
    """Record tasks that are not run as skipped, and one alert for all."""
    now = context.clock()
    with context.store.transaction() as transaction:
        for task in tasks:
            number = history.begin_run(transaction, task, now)
            history.finish_run(transaction, number, (SKIPPED, reason, 0, cause), now)
        context.processor(transaction).process([finding], [])


def owed_tasks(context: Context, jobs: Sequence[str], trigger: Trigger) -> list[Task]:
    """Return the tasks of a due time that have no run, or only an interrupted one.

    They are in the order of the configuration, but for those that had no turn the last time.
    """
    with context.store.reading() as transaction:
        settled = history.load_settled(transaction, trigger)
        runs = [PastRun(**row) for row in history.earlier_runs(transaction, trigger)]
    tasks = tasks_of(context, jobs, trigger)
    return in_turn((one for one in tasks if (one.job, one.database) not in settled), runs)
