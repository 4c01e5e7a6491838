"""The self-check: every due run is accounted for and every notification delivered in time."""

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta

from alerts import alert_store, outbox
from daemon.context import Context
from daemon.history import history
from daemon.scheduling.tasks import tasks_of
from daemon.scheduling.timetable import timings
from domain.finding import Severity
from domain.kinds import CHANNEL_UNDELIVERED
from domain.task import Trigger
from store.store import StoreError, Transaction

GRACE = timedelta(minutes=10)
"""Time after its window in which a due run may still be recorded."""
_IN_TIME = {Severity.CRITICAL: timedelta(minutes=10), Severity.HIGH: timedelta(hours=1)}
_ANY = timedelta(hours=6)


def self_check(context: Context, busy: Collection[str] = ()) -> list[str]:
    """Return the problems, one line each; schedules in progress are not late."""
    try:
        with context.store.reading() as transaction:
            now = context.clock()
            return [*_runs(transaction, context, now, busy), *_messages(transaction, now)]
    except StoreError as error:
        return [str(error)]


def _runs(
    transaction: Transaction, context: Context, now: datetime, busy: Collection[str]
) -> Iterator[str]:
    """Yield tasks of the last closed window that have no run."""
    planned = history.load_planned(transaction)
    for name, timing in timings(context.config).items():
        schedule = context.config.timetable[name]
        due = timing.latest(now - schedule.window - GRACE)
        if due is None or name in busy:
            continue
        trigger = Trigger(name, due.nominal)
        superseded = history.load_superseded(transaction, trigger)
        for task in tasks_of(context, schedule.jobs, trigger):
            since = planned.get(history.planned_name(task, str(schedule.cron)))
            if since is None or since > due.instant or (task.job, task.database) in superseded:
                continue
            place = ""
            if task.database:
                place = f" {task.database}"
            yield f"{task.job}{place} of {due.nominal:%Y-%m-%d %H:%M} ({name}) has no recorded run"


def _messages(transaction: Transaction, now: datetime) -> Iterator[str]:
    """Yield overdue notifications and channels that gave one up."""
    for one in outbox.load_oldest(transaction):
        if now - one.created_at > _IN_TIME.get(one.severity, _ANY):
            minutes = (now - one.created_at).total_seconds() / 60
            yield (
                f"a {one.severity.value} message has been waiting for channel {one.channel} for "
                f"{minutes:.0f} min"
            )
    for alert in alert_store.load_open(transaction):
        if alert.kind == CHANNEL_UNDELIVERED.name:
            yield f"channel {alert.object} delivers nothing"
