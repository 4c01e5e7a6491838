"""The self-audit: is every due run accounted for, and every alert delivered, or within its time?"""

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta

from alerts import book, outbox
from alerts.rules import UNDELIVERED
from checks.finding import Severity
from daemon import history
from daemon.errands import errands
from daemon.history import Trigger
from daemon.parts import Parts
from daemon.timetable import timings
from store.store import StoreError, Transaction

GRACE = timedelta(minutes=10)
"""After its window, a due time has so long to be accounted for."""
_IN_TIME = {Severity.CRITICAL: timedelta(minutes=10), Severity.HIGH: timedelta(hours=1)}
_ANY = timedelta(hours=6)


def audit(parts: Parts, busy: Collection[str] = ()) -> list[str]:
    """Return what is wrong, a line each; nothing if all is as it should be. Schedules in progress are not late."""
    try:
        with parts.store.reading() as transaction:
            now = parts.clock()
            return [*_runs(transaction, parts, now, busy), *_messages(transaction, now)]
    except StoreError as error:
        return [str(error)]


def _runs(transaction: Transaction, parts: Parts, now: datetime, busy: Collection[str]) -> Iterator[str]:
    """The last due time whose window is over is accounted for, in each place that was planned by then."""
    for name, timing in timings(parts.config).items():
        schedule = parts.config.timetable[name]
        due = timing.latest(now - schedule.window - GRACE)
        if due is None or name in busy:
            continue
        for errand in errands(parts.config, schedule.jobs, Trigger(name, due.nominal)):
            since = history.planned_since(transaction, errand.task, str(schedule.cron))
            if since is None or since > due.instant or history.gone_on(transaction, errand.task):
                continue
            place = f" {errand.database}" if errand.database else ""
            yield f"{errand.job.name}{place} of {due.nominal:%Y-%m-%d %H:%M} ({name}) is not accounted for"


def _messages(transaction: Transaction, now: datetime) -> Iterator[str]:
    """No message waits for too long, and no channel has given one up."""
    for one in outbox.oldest(transaction):
        if now - one.created_at > _IN_TIME.get(one.severity, _ANY):
            minutes = (now - one.created_at).total_seconds() / 60
            yield f"a message that is {one.severity.value} waits for channel {one.channel} since {minutes:.0f} min"
    for alert in book.open_alerts(transaction):
        if alert.kind == UNDELIVERED:
            yield f"channel {alert.object} takes no messages"
