"""Recovery of runs that a dead process left as running."""

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from daemon.context import Context
from daemon.history import history
from daemon.runs.judging import judge_interrupted
from domain.task import Request, Scope, Task
from store.timestamps import from_text

LIVE_RUNS: set[int] = set()
"""The numbers of the runs of this process."""
CLOCK_TOLERANCE = timedelta(minutes=10)
"""The clock may have been set by this much since a run began."""


def recover_interrupted_runs(context: Context) -> None:
    """Mark the runs of a dead process as interrupted, with an alert. Requires the service lock.

    Runs of a live `sereno now` are left alone.
    """
    now, instance = context.clock(), context.config.daemon.name
    with context.store.transaction() as transaction:
        for run in history.running_runs(transaction):
            began = from_text(run["started_at"])
            if run["schedule"] is None and is_alive(run["id"], run["process"], began):
                continue
            died = f"process {run['process']} exited without recording a result"
            history.mark_interrupted(transaction, run["id"], died, now)
            asked = Request(run["subject"], "", "", None) if run["subject"] else None
            task = Task(run["job"], Scope(run["scope"]), run["database"], request=asked)
            finding = judge_interrupted(instance, task, run["id"], died)
            context.processor(transaction).process([finding])


def is_alive(run: int, process: int, run_began: datetime) -> bool:
    """Return whether the process of a run is at work on it.

    It has to be older than its run: the kernel reuses the numbers.
    """
    if process == os.getpid():
        return run in LIVE_RUNS
    try:
        status = Path(f"/proc/{process}/stat").read_text("utf-8", errors="replace")
    except OSError:
        return False
    # proc(5): the fields after the name in parentheses; starttime is the 22nd of all
    fields = status.rpartition(")")[2].split()
    if fields[0] == "Z":  # it has ended, and its parent has not asked for it
        return False
    ticks = int(fields[19])
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    process_began = datetime.now(UTC) - timedelta(seconds=age)
    return process_began <= run_began + CLOCK_TOLERANCE
