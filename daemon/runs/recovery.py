"""Recovery of runs that a dead process left as running."""

from pathlib import Path

from daemon.context import Context
from daemon.history import history
from daemon.runs.judging import judge_interrupted
from domain.task import Scope, Task


def recover_interrupted_runs(context: Context) -> None:
    """Mark the runs of a dead process as interrupted, with an alert. Requires the service lock.

    Runs of a live `sereno now` are left alone.
    """
    now, instance = context.clock(), context.config.daemon.name
    with context.store.transaction() as transaction:
        for run in history.running_runs(transaction):
            if run["schedule"] is None and Path(f"/proc/{run['process']}").exists():
                continue
            died = f"process {run['process']} exited without recording a result"
            history.mark_interrupted(transaction, run["id"], died, now)
            task = Task(run["job"], Scope(run["scope"]), run["database"])
            finding = judge_interrupted(instance, task, run["id"], died)
            context.processor(transaction).process([finding])
