"""What is told though nobody looked: repeats, escalation, channels that fail, and drills at their time."""

from datetime import datetime
from zoneinfo import ZoneInfo

from alerts import outbox
from alerts.alert import Message, Reason
from alerts.obstacles import watch
from alerts.teller import Teller
from checks.finding import Severity
from daemon.calendar import latest, parse_cron
from daemon.parts import Parts

DRILLS = {"weekly": parse_cron("0 10 * * mon"), "monthly": parse_cron("0 10 1 * *")}


def remind(parts: Parts, since: datetime) -> None:
    """Owe what is due now; `since` says from when on somebody was there to do it. StoreError."""
    now = parts.clock()
    with parts.store.transaction() as transaction:
        Teller(transaction, parts.policy, now).tell_again()
        watch(transaction, parts.policy, now)
    _drill(parts, since)


def drill(parts: Parts) -> Message:
    """Return a message that says it is none."""
    return Message(
        instance=parts.config.daemon.name,
        severity=Severity.INFO,
        reason=Reason.DRILL,
        kind="drill",
        type="DRILL",
        title="drill: nothing is wrong",
        summary="This only tries whether the channel works. Nothing is to be done.",
        database="",
        object="",
        remedy="",
        occurred_at=parts.clock(),
    )


def _drill(parts: Parts, since: datetime) -> None:
    """Try every channel, once for each due time; one that was missed is made up for."""
    cron = DRILLS.get(parts.config.alerts.drill)
    now = parts.clock()
    due = cron and latest(cron, ZoneInfo(parts.config.daemon.timezone), now)
    if not due:
        return
    with parts.store.transaction() as transaction:
        if (outbox.last_drill(transaction) or since) < due.instant:
            for channel in parts.channels:
                outbox.owe(transaction, drill(parts), channel, now)
