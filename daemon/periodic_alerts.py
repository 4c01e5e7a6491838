"""What is told though nobody looked: repeats, escalation, channels that fail, and drills at their time."""

from datetime import datetime
from zoneinfo import ZoneInfo

from alerts import outbox
from alerts.alert import Message, Reason
from alerts.channel_health import watch
from alerts.processor import Teller
from daemon.context import Context
from domain.calendar import latest, parse_cron
from domain.finding import Severity

DRILLS = {"weekly": parse_cron("0 10 * * mon"), "monthly": parse_cron("0 10 1 * *")}


def remind(context: Context, since: datetime) -> None:
    """Owe what is due now; `since` says from when on somebody was there to do it. StoreError."""
    now = context.clock()
    with context.store.transaction() as transaction:
        Teller(transaction, context.policy, now).tell_again()
        watch(transaction, context.policy, now)
    _drill(context, since)


def drill(context: Context) -> Message:
    """Return a message that says it is none."""
    return Message(
        instance=context.config.daemon.name,
        severity=Severity.INFO,
        reason=Reason.DRILL,
        kind="drill",
        type="DRILL",
        title="drill: nothing is wrong",
        summary="This only tries whether the channel works. Nothing is to be done.",
        database="",
        object="",
        remedy="",
        occurred_at=context.clock(),
    )


def _drill(context: Context, since: datetime) -> None:
    """Try every channel, once for each due time; one that was missed is made up for."""
    cron = DRILLS.get(context.config.alerts.drill)
    now = context.clock()
    due = cron and latest(cron, ZoneInfo(context.config.daemon.timezone), now)
    if not due:
        return
    with context.store.transaction() as transaction:
        if (outbox.last_drill(transaction) or since) < due.instant:
            for channel in context.channels:
                outbox.owe(transaction, drill(context), channel, now)
