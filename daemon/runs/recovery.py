"""Recovery of runs that a dead process left as running."""

from pathlib import Path

from daemon.alerting import process_findings_in
from daemon.context import Context
from daemon.history import history
from daemon.runs.recorder import TASK_ORPHANED
from domain.finding import Finding, Identity, Severity


def recover_interrupted_runs(context: Context) -> None:
    """Mark the runs of a dead process as interrupted, with an alert. Requires the service lock.

    Runs of a live `sereno now` are left alone.
    """
    now, instance = context.clock(), context.config.daemon.name
    with context.store.transaction() as transaction:
        for run in history.running_runs(transaction):
            if run["schedule"] is None and Path(f"/proc/{run['process']}").exists():
                continue
            died = f"process {run['process']} ended without a word"
            history.mark_interrupted(transaction, run["id"], died, now)
            identity = Identity(TASK_ORPHANED, instance, database=run["database"], task=run["job"])
            remedy = f"sereno history {run['id']}; journalctl -u sereno"
            found = Finding(
                identity,
                Severity.HIGH,
                f"run {run['id']}: {died}; it is taken up again",
                remedy=remedy,
            )
            process_findings_in(transaction, context, [found], [])
