"""`sereno status`: how the house stands, from the store alone."""

from collections.abc import Iterator
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from alerts import alert_store, outbox
from alerts.alert import Alert
from alerts.policy import UNDELIVERED
from daemon.console import format_minute
from daemon.context import Context
from daemon.history import history, pause
from daemon.scheduling.timetable import timings
from store.file_lock import LockHeldError, exclusive_lock

LATEST = 10
_RUN = ("id", "job", "database", "state", "started_at", "reason")


def status_data(context: Context) -> dict[str, Any]:
    """Return what runs, what is next, what is open, what waits."""
    now = context.clock()
    zone = ZoneInfo(context.config.daemon.timezone)
    with context.store.reading() as transaction:
        alerts = alert_store.load_open(transaction)
        runs = history.load_runs(transaction, LATEST)
        waiting = outbox.count_waiting(transaction)
        paused = pause.paused(transaction, now)
    return {
        "instance": context.config.daemon.name,
        "service": _owned(context),
        "paused": "" if paused is None else _paused(paused, zone),
        "next": list(next_due_times(context, 1)),
        "runs": [
            {key: format_minute(run[key]) if key.endswith("_at") else run[key] for key in _RUN}
            for run in runs
        ],
        "alerts": [_alert(alert) for alert in alerts],
        "outbox": waiting,
        "dumb": sorted(
            {alert.object for alert in alerts if alert.kind == UNDELIVERED}
            & context.channels.keys()
        ),
    }


def next_due_times(context: Context, count: int) -> Iterator[dict[str, str]]:
    """Yield the next due times of each schedule: the minute that is meant, and when that is."""
    zone = ZoneInfo(context.config.daemon.timezone)
    for name, timing in timings(context.config).items():
        for due in islice(timing.upcoming(context.clock()), count):
            yield {
                "schedule": name,
                "nominal": f"{due.nominal:%a %Y-%m-%d %H:%M}",
                "local": f"{due.instant.astimezone(zone):%Y-%m-%d %H:%M %Z}",
                "utc": f"{due.instant:%Y-%m-%d %H:%M}",
                "jobs": ", ".join(context.config.timetable[name].jobs),
            }


def _paused(paused: pause.Paused, zone: ZoneInfo) -> str:
    end = (
        f"until {paused.until.astimezone(zone):%Y-%m-%d %H:%M %Z}"
        if paused.until
        else "until: sereno resume"
    )
    return f"{end} ({paused.reason})" if paused.reason else end


def _alert(alert: Alert) -> dict[str, Any]:
    return {
        "alert": alert.id,
        "severity": alert.severity.value,
        "state": alert.state.value,
        "what": f"{alert.kind} {alert.database} {alert.object or alert.task}: {alert.summary}",
        "since": f"{alert.opened_at:%Y-%m-%d %H:%M} UTC",
    }


def _owned(context: Context) -> bool:
    try:
        with exclusive_lock(context.store.service_lock):
            return False
    except LockHeldError:
        return True
