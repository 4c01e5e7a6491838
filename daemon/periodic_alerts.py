"""Time-driven alert work: repeats, escalation, failing channels, scheduled channel tests."""

from datetime import datetime
from zoneinfo import ZoneInfo

from alerts import outbox
from alerts.alert import Message, Reason
from alerts.channel_health import check_channels
from alerts.processor import AlertProcessor
from daemon.context import Context
from domain.calendar import latest, parse_cron
from domain.finding import Severity

TEST_TIMES = {"weekly": parse_cron("0 10 * * mon"), "monthly": parse_cron("0 10 1 * *")}


def run_periodic_alerts(context: Context, since: datetime) -> None:
    """Process all alert work that is due; the service started at `since`. Raises StoreError."""
    now = context.clock()
    with context.store.transaction() as transaction:
        AlertProcessor(transaction, context.policy, now).review()
        check_channels(transaction, context.policy, now)
    _test_channels(context, since)


def channel_test_message(context: Context) -> Message:
    """Return the message of a channel test."""
    return Message(
        instance=context.config.daemon.name,
        severity=Severity.INFO,
        reason=Reason.CHANNEL_TEST,
        kind="channel_test",
        type="CHANNEL_TEST",
        title="channel test: nothing is wrong",
        summary="This message tests the channel. No action is needed.",
        database="",
        object="",
        remedy="",
        occurred_at=context.clock(),
    )


def _test_channels(context: Context, since: datetime) -> None:
    """Test every channel once per due time; a missed one is made up."""
    cron = TEST_TIMES.get(context.config.alerts.channel_test)
    now = context.clock()
    due = cron and latest(cron, ZoneInfo(context.config.daemon.timezone), now)
    if not due:
        return
    with context.store.transaction() as transaction:
        if (outbox.last_channel_test_at(transaction) or since) < due.instant:
            for channel in context.channels:
                outbox.enqueue(transaction, channel_test_message(context), channel, now)
