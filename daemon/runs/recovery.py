"""Recovery of runs that a dead process left as running."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta

from daemon.context import Context
from daemon.history import fleet, history
from daemon.history.worker import parse_worker, this_worker
from daemon.runs.judging import judge_interrupted
from domain.task import Request, Scope, Task
from store.store import Row, Transaction
from store.timestamps import from_text

LIVE_RUNS: set[int] = set()
"""The numbers of the runs of this process."""
ELSEWHERE = timedelta(days=1)
"""A run of another host counts as at work for this long."""


def recover_interrupted_runs(context: Context, *, leads: bool = False) -> None:
    """Mark the runs of a dead process as interrupted, with an alert. Requires the service lock.

    One that `leads` a fleet looks after those of its workers later, by their signs of life.
    Runs of a live `sereno now` are left alone; those of the service before this one are over,
    wherever it was, since it has lost the lock.
    """
    now, here = context.clock(), str(this_worker())
    with context.store.transaction() as transaction:
        former = history.replace_service(transaction, here)
        workers = {one.process for one in fleet.load_workers(transaction)} - {here}
        for run in history.running_runs(transaction):
            scheduled = run["schedule"] is not None
            if scheduled and leads and run["worker"] in workers:
                continue
            if run["worker"] == here and run["id"] in LIVE_RUNS:
                continue
            is_former = run["worker"] == former and former != here
            if not scheduled and not is_former and is_alive(run["id"], run, now):
                continue
            _interrupt(context, transaction, run, "exited without recording a result")


def interrupt_runs(
    context: Context, transaction: Transaction, live: Collection[str], names: Mapping[str, str]
) -> None:
    """Mark the runs of schedules as interrupted, with an alert, that no live worker has.

    `names` are those of workers in the fleet, by process.
    """
    for run in history.running_runs(transaction):
        if run["schedule"] is not None and run["worker"] not in live:
            name = f" (worker {names[run['worker']]})" if run["worker"] in names else ""
            why = f"{name} gives no sign of life any more"
            _interrupt(context, transaction, run, why.strip())


def close_unrecorded_runs(context: Context) -> None:
    """Mark runs of this process as interrupted that have ended and could not be recorded."""
    here = str(this_worker())
    with context.store.transaction() as transaction:
        for run in history.running_runs(transaction):
            if run["worker"] == here and run["id"] not in LIVE_RUNS:
                _interrupt(context, transaction, run, "could not record its end")


def _interrupt(context: Context, transaction: Transaction, run: Row, why: str) -> None:
    worker = parse_worker(run["worker"])
    died = f"{worker.name if worker else 'its process'} {why}"
    history.mark_interrupted(transaction, run["id"], died, context.clock())
    asked = Request(run["subject"], "", "", None) if run["subject"] else None
    task = Task(run["job"], Scope(run["scope"]), run["database"], request=asked)
    finding = judge_interrupted(context.config.daemon.name, task, run["id"], died)
    context.processor(transaction).process([finding])


def is_alive(run: int, row: Row, now: datetime | None = None) -> bool:
    """Return whether the worker of a run is at work on it.

    What a worker of another host does cannot be seen; its run counts for a day.
    """
    worker = parse_worker(row["worker"])
    if worker is None:
        return False
    if worker == this_worker():
        return run in LIVE_RUNS
    running = worker.is_running()
    if running is None:
        return (now or datetime.now(UTC)) - from_text(row["started_at"]) < ELSEWHERE
    return running
