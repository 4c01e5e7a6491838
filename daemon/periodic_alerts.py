"""Time-driven alert work: repeats, escalation, failing channels, scheduled channel tests."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from alerts import alert_store, outbox
from alerts.alert import Message, Reason
from alerts.catalogue import Tongue, said
from alerts.channel_health import check_channels
from alerts.processor import AlertProcessor
from daemon.context import Context
from daemon.history import migrating
from daemon.runs.recovery import is_alive
from domain.calendar import latest, parse_cron
from domain.coverage import Coverage
from domain.finding import Finding, Identity, Severity
from domain.kinds import MIGRATION_STALLED
from store.store import Row, Transaction
from store.timestamps import from_text

STALLED_AFTER = timedelta(minutes=10)
TEST_TIMES = {"weekly": parse_cron("0 10 * * mon"), "monthly": parse_cron("0 10 1 * *")}


def run_periodic_alerts(context: Context, since: datetime) -> None:
    """Process all alert work that is due; the service started at `since`. Raises StoreError."""
    now = context.clock()
    with context.store.transaction() as transaction:
        AlertProcessor(transaction, context.policy, now).review()
        check_channels(transaction, context.policy, now)
        _tell_stalled(context, transaction)
    _test_channels(context, since)


def _tell_stalled(context: Context, transaction: Transaction) -> None:
    """Open an alert for each requested run that makes no progress and gives no reason.

    Progress resolves it, and so does the end of the run.
    """
    now = context.clock()
    rows = [row for row in migrating.open_progress(transaction, "migrate") if _is_alive(row)]
    if not rows:
        return
    stalled = {_place(row): row for row in rows if _is_stalled(row, now)}
    told = _told(transaction)
    moving = {_place(row) for row in rows} - stalled.keys()
    over = [Coverage(MIGRATION_STALLED.name, *place) for place in sorted(moving & told)]
    if over:
        context.processor(transaction).process([], over)
    for row in (row for place, row in stalled.items() if place not in told):
        context.processor(transaction, row["run"]).process([_stalled(context, row, now)])


def _told(transaction: Transaction) -> set[tuple[str, str]]:
    """Return the database and migration of each open alert."""
    return {
        (alert.database, alert.object)
        for alert in alert_store.load_open(transaction)
        if alert.kind == MIGRATION_STALLED.name
    }


def _place(row: Row) -> tuple[str, str]:
    return row["database"], row["subject"]


def _is_alive(row: Row) -> bool:
    return is_alive(row["run"], row)


def _is_stalled(row: Row, now: datetime) -> bool:
    return not row["reason"] and now - from_text(row["moved_at"]) > STALLED_AFTER


def _stalled(context: Context, row: Row, now: datetime) -> Finding:
    database, migration = row["database"], row["subject"]
    name = context.config.daemon.name
    identity = Identity(
        MIGRATION_STALLED.name, name, database=database, object=migration, task="migrate"
    )
    minutes = (now - from_text(row["moved_at"])).total_seconds() / 60
    summary = f"no progress for {minutes:.0f} min in {row['step']}"
    remedy = (
        f"sereno migrate progress {migration}; a long statement may go on, and "
        f"sereno migrate pause {migration} cancels it"
    )
    return Finding(identity, Severity.HIGH, summary, remedy=remedy)


def channel_test_message(context: Context, tongue: Tongue = "en") -> Message:
    """Return the message of a channel test."""
    return Message(
        instance=context.config.daemon.name,
        severity=Severity.INFO,
        reason=Reason.CHANNEL_TEST,
        kind="channel_test",
        type="CHANNEL_TEST",
        language=tongue,
        title=said(tongue, "channel test: nothing is wrong"),
        summary=said(tongue, "This message tests the channel. No action is needed."),
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
                message = channel_test_message(context, context.policy.language_of(channel))
                outbox.enqueue(transaction, message, channel, now)
