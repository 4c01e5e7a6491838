"""What a dead process has left: runs that are recorded as running, and that nobody runs."""

from pathlib import Path

from daemon.alerting import tell_within
from daemon.context import Context
from daemon.history import history
from daemon.runs.recorder import TASK_ORPHANED
from domain.finding import Finding, Identity, Severity


def take_up(context: Context) -> None:
    """Record them as interrupted, and tell it. For the owner of the state file: the lists are nobody else's to run.

    `sereno now` of a person, whose process lives, is left alone.
    """
    now, instance = context.clock(), context.config.daemon.name
    with context.store.transaction() as transaction:
        for run in history.orphaned(transaction):
            if run["schedule"] is None and Path(f"/proc/{run['process']}").exists():
                continue
            died = f"process {run['process']} ended without a word"
            history.interrupt(transaction, run["id"], died, now)
            identity = Identity(TASK_ORPHANED, instance, database=run["database"], task=run["job"])
            remedy = f"sereno history {run['id']}; journalctl -u sereno"
            found = Finding(identity, Severity.HIGH, f"run {run['id']}: {died}; it is taken up again", remedy=remedy)
            tell_within(transaction, context, [found], [])
