"""The service's objections to an upgrade now: work in progress, findings, no young backup."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from alerts import alert_store
from alerts.alert import Alert
from checks import backup_age
from checks.check import NotSeen
from checks.patches import HEADERS
from checks.sql_check import BadCheckError
from daemon.context import Context
from daemon.history import history, pause
from daemon.scheduling.tasks import CHECK_JOBS, tasks_of
from domain.finding import Severity
from domain.kinds import PATCH_UNIT, SERVICE_FAILED
from store.store import Row, Transaction
from store.timestamps import from_text

PAUSE = timedelta(minutes=30)
REASON = "minor upgrade of PostgreSQL"
"""The reason of the pause by which it is known again."""
NIGHT = timedelta(hours=26)
"""Checks that ended longer ago are not those of the last night."""


def objections(context: Context, *, hold: bool) -> list[str]:
    """Return why the server should not be restarted now; none if nothing prevents it.

    With `hold` and no objection, sereno is paused in the same transaction that has looked.
    """
    now = context.clock()
    found = [*_backup_objections(context, now)]
    with context.store.transaction() as transaction:
        found += _recorded_objections(context, transaction, now)
        if hold and not found:
            pause.pause(transaction, now + PAUSE, REASON, now)
    return found


def _recorded_objections(
    context: Context, transaction: Transaction, now: datetime
) -> Iterator[str]:
    """Yield the objections that the state file shows."""
    if (paused := pause.paused(transaction, now)) and paused.reason != REASON:
        yield f"sereno is paused: {paused.reason or 'no reason given'} (sereno resume)"
    for run in history.running_runs(transaction):
        task = f"{run['job']} {run['database']}".strip()
        yield f"run {run['id']} ({task}) is in progress"
    yield from _unfinished_checks(context, transaction, now)
    for alert in alert_store.load_open(transaction):
        if alert.severity >= Severity.HIGH and not _is_cured(alert):
            yield _alert_text(alert)


def _is_cured(alert: Alert) -> bool:
    """Return whether an upgrade that succeeds resolves an alert."""
    return alert.kind in HEADERS or (alert.kind, alert.object) == (SERVICE_FAILED.name, PATCH_UNIT)


def _alert_text(alert: Alert) -> str:
    where = " ".join(filter(None, (alert.database, alert.object)))
    return f"alert {alert.id} is open: {alert.severity.value} {alert.kind} {where}".rstrip()


def _unfinished_checks(context: Context, transaction: Transaction, now: datetime) -> Iterator[str]:
    """Yield the checks that have not run to their end since the last night."""
    ended: dict[tuple[str, str], Row] = {
        (row["job"], row["database"]): row for row in history.last_runs(transaction, CHECK_JOBS)
    }
    scheduled = {job for one in context.config.timetable.values() for job in one.jobs}
    for job in sorted({"integrity_check"} - scheduled):
        yield f"no schedule runs {job}"
    for task in tasks_of(context, [job for job in CHECK_JOBS if job in scheduled]):
        run = ended.get((task.job, task.database))
        name = f"{task.job} of {task.database or 'the host'}"
        if run is None or now - from_text(run["finished_at"]) > NIGHT:
            yield f"{name} has not run in the last {NIGHT.total_seconds() / 3600:.0f} hours"
        elif run["state"] != "finished":
            yield f"{name}: the last run ended as {run['state']} (sereno history {run['id']})"


def _backup_objections(context: Context, now: datetime) -> Iterator[str]:
    """Yield what the check `backup_age` finds now; unknown backups are no backups."""
    options = context.config.checks["backup_age"].values_on(now.date())
    try:
        rows = backup_age.CHECK.look(None, options)
    except (NotSeen, BadCheckError, OSError) as error:
        yield f"backup_age: {error}"
        return
    yield from (f"backup_age: {row['object']}: {row['what']}" for row in rows)
