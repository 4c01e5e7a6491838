"""The self-audit: is every due run accounted for, and every alert delivered, or within its time?"""

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta

from alerts import alert_store, outbox
from alerts.policy import UNDELIVERED
from daemon.context import Context
from daemon.history import history
from daemon.scheduling.tasks import tasks_of
from daemon.scheduling.timetable import timings
from domain.finding import Severity
from domain.task import Trigger
from store.store import StoreError, Transaction

GRACE = timedelta(minutes=10)
"""After its window, a due time has so long to be accounted for."""
_IN_TIME = {Severity.CRITICAL: timedelta(minutes=10), Severity.HIGH: timedelta(hours=1)}
_ANY = timedelta(hours=6)


def audit(context: Context, busy: Collection[str] = ()) -> list[str]:
    """Return what is wrong, a line each; nothing if all is as it should be. Schedules in progress are not late."""
    try:
        with context.store.reading() as transaction:
            now = context.clock()
            return [*_runs(transaction, context, now, busy), *_messages(transaction, now)]
    except StoreError as error:
        return [str(error)]


def _runs(transaction: Transaction, context: Context, now: datetime, busy: Collection[str]) -> Iterator[str]:
    """The last due time whose window is over is accounted for, in each place that was planned by then."""
    for name, timing in timings(context.config).items():
        schedule = context.config.timetable[name]
        due = timing.latest(now - schedule.window - GRACE)
        if due is None or name in busy:
            continue
        for task in tasks_of(context, schedule.jobs, Trigger(name, due.nominal)):
            since = history.planned_since(transaction, task, str(schedule.cron))
            if since is None or since > due.instant or history.gone_on(transaction, task):
                continue
            place = f" {task.database}" if task.database else ""
            yield f"{task.job}{place} of {due.nominal:%Y-%m-%d %H:%M} ({name}) is not accounted for"


def _messages(transaction: Transaction, now: datetime) -> Iterator[str]:
    """No message waits for too long, and no channel has given one up."""
    for one in outbox.oldest(transaction):
        if now - one.created_at > _IN_TIME.get(one.severity, _ANY):
            minutes = (now - one.created_at).total_seconds() / 60
            yield f"a message that is {one.severity.value} waits for channel {one.channel} since {minutes:.0f} min"
    for alert in alert_store.open_alerts(transaction):
        if alert.kind == UNDELIVERED:
            yield f"channel {alert.object} takes no messages"
