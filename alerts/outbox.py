"""The outbox: notifications enqueued with their cause, settled when delivered."""

import json
import uuid
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from alerts.alert import Alert, Message, Notification, Receipt
from alerts.message import from_json, to_json
from domain.finding import Severity
from store.store import Row, Transaction
from store.timestamps import from_text, to_text

_INSERT = """
    INSERT INTO notification (id, alert, channel, reason, severity, message, created_at,
                              not_before, state, generation, run, urgency, bundle)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'pending', ?, ?, ?, ?)
"""
_SEND_NOW = """
    UPDATE notification SET not_before = ?
    WHERE alert = ? AND channel = ? AND state = 'pending' AND not_before > ?
"""
_SENT = """
    UPDATE notification
    SET state = 'sent', sent_at = ?, remote = ?, lease_until = NULL,
        receipt = trim(receipt || '; ' || ?, '; ')
    WHERE id IN (SELECT value FROM json_each(?))
"""
_CONVERSATION = """
    INSERT INTO conversation (alert, channel, remote, subject)
    SELECT DISTINCT alert, channel, ?, ? FROM notification
    WHERE id IN (SELECT value FROM json_each(?)) AND alert IS NOT NULL
    ON CONFLICT (alert, channel) DO UPDATE
    SET remote = excluded.remote, subject = excluded.subject WHERE ?
"""
_PARTLY = """
    UPDATE notification SET recipients = ?, receipt = trim(receipt || '; ' || ?, '; '), remote = ?
    WHERE id IN (SELECT value FROM json_each(?))
"""
_RETRY = """
    UPDATE notification SET state = 'pending', not_before = ?, last_error = ?, lease_until = NULL,
                            bundle = CASE WHEN ? OR recipients <> '[]' THEN bundle ELSE '' END
    WHERE id IN (SELECT value FROM json_each(?))
"""
_ALONE = """
    UPDATE notification SET state = 'pending', bundle = id, last_error = ?, lease_until = NULL
    WHERE id IN (SELECT value FROM json_each(?))
"""
_DEAD = """
    UPDATE notification SET state = 'dead', last_error = ?, lease_until = NULL
    WHERE id IN (SELECT value FROM json_each(?))
"""
_OLD = """
    SELECT *
    FROM notification
    WHERE id IN (SELECT value
    FROM json_each(?)) AND created_at < ?
    ORDER BY rowid
"""
_EXPIRE = "UPDATE notification SET state = 'pending', lease_until = NULL WHERE state = 'leased'"
_WAITING = (
    "SELECT * FROM notification WHERE state IN ('pending', 'leased') ORDER BY not_before, rowid"
)
_LEFT = "SELECT count(*) AS waiting FROM notification WHERE state IN ('pending', 'leased')"
_UNSENT = """
    SELECT 1 AS unsent FROM notification
    WHERE alert = ? AND channel = ? AND state IN ('pending', 'leased') AND recipients = '[]'
      AND reason NOT IN ('severity_changed', 'acknowledged') LIMIT 1
"""
_LAST_OF_RUN = (
    "SELECT max(sent_at) AS at FROM notification WHERE run = ? AND channel = ? AND state = 'sent'"
)
_ENDED = """
SELECT count(*) AS messages FROM notification
WHERE state IN ('sent', 'dead') AND coalesce(sent_at, created_at) < ?
  AND NOT EXISTS (SELECT 1 FROM alert WHERE alert.id = notification.alert AND resolved_at IS NULL)
"""
_FORGET = """
DELETE FROM notification
WHERE state IN ('sent', 'dead') AND coalesce(sent_at, created_at) < ?
  AND NOT EXISTS (SELECT 1 FROM alert WHERE alert.id = notification.alert AND resolved_at IS NULL)
"""
_COUNTS = """
    SELECT channel, state, count(*) AS messages, min(created_at) AS oldest
    FROM notification GROUP BY 1, 2
"""
_OLDEST = """
    SELECT channel, severity, min(created_at) AS at FROM notification
    WHERE state IN ('pending', 'leased')
    GROUP BY channel, severity
"""
_OVERDUE = """
    SELECT n.channel, min(n.created_at) AS at, max(n.last_error) AS error FROM notification n
    WHERE n.state IN ('pending', 'leased') AND n.attempts > 0 AND n.created_at <= :before
      AND n.recipients = '[]'
    GROUP BY 1
"""
_URGENT = """
    SELECT n.* FROM notification n JOIN alert a ON a.id = n.alert AND a.resolved_at IS NULL
    WHERE n.channel = ? AND n.state IN ('pending', 'leased') AND n.urgency = 0 ORDER BY n.rowid
"""
_REACHED = """
    SELECT 1 AS reached FROM notification
    WHERE alert = ? AND generation = ? AND channel = ? AND state <> 'dead'
    LIMIT 1
"""
_ONE = "SELECT * FROM notification WHERE id = ?"
_OF_ALERT = (
    "SELECT * FROM notification WHERE alert = ? ORDER BY created_at DESC, rowid DESC LIMIT ?"
)
_OF_RUNS = """
    SELECT channel, count(*) AS notifications FROM notification
    WHERE run IN (SELECT CAST(value AS BIGINT) FROM json_each(?))
    GROUP BY channel ORDER BY channel
"""


@dataclass(frozen=True, slots=True)
class Wait:
    """The grouping delay of a message, its run, and the id of an earlier copy, if any."""

    span: timedelta = timedelta()
    run: int | None = None
    id: str = ""


@dataclass(frozen=True, slots=True)
class Oldest:
    """The oldest undelivered message of a channel and severity."""

    channel: str
    severity: Severity
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Waiting:
    """One row of `sereno outbox`."""

    id: str
    channel: str
    title: str
    state: str
    attempts: int
    not_before: datetime
    last_error: str


def enqueue(
    transaction: Transaction, message: Message, channel: str, now: datetime, wait: Wait = Wait()
) -> str:
    """Enqueue one message for one channel, not before the wait; return its id."""
    number = wait.id or uuid.uuid4().hex
    what = (
        number,
        message.alert,
        channel,
        message.reason.value,
        message.severity.value,
        to_json(message),
    )
    urgency = len(Severity) - 1 - message.severity.rank
    transaction.execute(
        _INSERT,
        (
            *what,
            to_text(now),
            to_text(now + wait.span),
            message.generation,
            wait.run,
            urgency,
            wait.id,
        ),
    )
    if message.severity is Severity.CRITICAL:  # messages that must arrive before it are sent now
        at = to_text(now)
        transaction.execute(_SEND_NOW, (at, message.alert, channel, at))
    transaction.ring()
    return number


def has_unsent(transaction: Transaction, alert: int, channel: str) -> bool:
    """Return whether the channel has not accepted the alert's last message: no repeat is added."""
    return transaction.row(_UNSENT, (alert, channel)) is not None


def last_sent_of_run(transaction: Transaction, run: int, channel: str) -> datetime | None:
    """Return when the channel last accepted a message of a run."""
    row = transaction.row(_LAST_OF_RUN, (run, channel))
    if row and row["at"]:
        return from_text(row["at"])
    return None


def mark_sent(
    transaction: Transaction, notification: Notification, receipt: Receipt, now: datetime
) -> None:
    """Mark a notification as sent; the remote id becomes the thread of its alerts."""
    members = json.dumps(notification.members)
    transaction.execute(_SENT, (to_text(now), receipt.remote, receipt.words, members))
    if receipt.remote:
        transaction.execute(
            _CONVERSATION, (receipt.remote, notification.message.title, members, receipt.replaced)
        )


def mark_partly_sent(
    transaction: Transaction, notification: Notification, receipt: Receipt
) -> None:
    """Keep a notification for the recipients that have not accepted it."""
    left = json.dumps(list(receipt.later), ensure_ascii=False)
    transaction.execute(
        _PARTLY, (left, receipt.words, receipt.remote, json.dumps(notification.members))
    )


def retry(
    transaction: Transaction, notification: Notification, error: str, at: datetime, *, same: bool
) -> None:
    """Retry at an instant; as the `same` copy if it may have been accepted."""
    transaction.execute(_RETRY, (to_text(at), error, same, json.dumps(notification.members)))


def split(transaction: Transaction, notification: Notification, error: str) -> None:
    """Split a refused group, so that one bad message does not affect the others."""
    transaction.execute(_ALONE, (error, json.dumps(notification.members)))


def load_expired(
    transaction: Transaction, notification: Notification, before: datetime
) -> list[Notification]:
    """Return the messages of a copy that were enqueued before an instant."""
    rows = transaction.rows(_OLD, (json.dumps(notification.members), to_text(before)))
    return [parse_row(row) for row in rows]


def mark_dead(transaction: Transaction, notification: Notification, error: str) -> None:
    """Give up a notification; the courier alerts about it elsewhere."""
    transaction.execute(_DEAD, (error, json.dumps(notification.members)))


def expire_leases(transaction: Transaction) -> int:
    """Release the leases of a former owner. Requires the service lock."""
    return transaction.execute(_EXPIRE)


def for_removed_channels(transaction: Transaction, channels: Collection[str]) -> list[Notification]:
    """Return the notifications of channels that are no longer configured."""
    return [parse_row(row) for row in transaction.rows(_WAITING) if row["channel"] not in channels]


def overdue_channels(transaction: Transaction, before: datetime) -> dict[str, tuple[datetime, str]]:
    """Return the channels with messages undelivered since before an instant, with the error."""
    rows = transaction.rows(_OVERDUE, {"before": to_text(before)})
    return {row["channel"]: (from_text(row["at"]), row["error"]) for row in rows}


def load_urgent(transaction: Transaction, channel: str) -> list[Notification]:
    """Return the critical, still open messages that wait for a channel."""
    return [parse_row(row) for row in transaction.rows(_URGENT, (channel,))]


def was_notified(transaction: Transaction, alert: Alert, channel: str) -> bool:
    """Return whether a channel was or will be notified of an alert in its current firing."""
    return transaction.row(_REACHED, (alert.id, alert.generation, channel)) is not None


def count_by_channel(transaction: Transaction, runs: Collection[int]) -> dict[str, int]:
    """Count the notifications of some runs by channel."""
    rows = transaction.rows(_OF_RUNS, (json.dumps(list(runs)),))
    return {row["channel"]: row["notifications"] for row in rows}


def load_waiting(transaction: Transaction) -> list[Waiting]:
    """Return the undelivered messages, with the reason."""
    return [
        Waiting(
            id=row["id"],
            channel=row["channel"],
            title=from_json(row["message"]).title,
            state=row["state"],
            attempts=row["attempts"],
            not_before=from_text(row["not_before"]),
            last_error=row["last_error"],
        )
        for row in transaction.rows(_WAITING)
    ]


def count_waiting(transaction: Transaction) -> int:
    """Count the undelivered messages."""
    row = transaction.row(_LEFT)
    if row:
        return int(row["waiting"])
    return 0


def count_ended(transaction: Transaction, before: datetime) -> int:
    """Count the settled messages before an instant, except those of open alerts."""
    return int(str(transaction.rows(_ENDED, (to_text(before),))[0]["messages"]))


def purge(transaction: Transaction, before: datetime) -> None:
    """Delete them."""
    transaction.execute(_FORGET, (to_text(before),))


def count_by_state(transaction: Transaction) -> dict[str, dict[str, tuple[int, datetime]]]:
    """Return, per channel and state, the number of messages and the oldest instant."""
    found: dict[str, dict[str, tuple[int, datetime]]] = defaultdict(dict)
    for row in transaction.rows(_COUNTS):
        found[row["channel"]][row["state"]] = (row["messages"], from_text(row["oldest"]))
    return found


def load_oldest(transaction: Transaction) -> list[Oldest]:
    """Return the oldest undelivered message of each channel and severity."""
    return [
        Oldest(row["channel"], Severity(row["severity"]), from_text(row["at"]))
        for row in transaction.rows(_OLDEST)
    ]


def load_state(transaction: Transaction, number: str) -> tuple[str, str, str, str]:
    """Return state, receipt, last error and channel of a message."""
    row = transaction.row(_ONE, (number,))
    if row:
        return (row["state"], row["receipt"], row["last_error"], row["channel"])
    return ("unknown", "", "", "")


def last_channel_test_at(transaction: Transaction) -> datetime | None:
    """Return when the channels were last tested."""
    row = transaction.row(
        "SELECT max(created_at) AS at FROM notification WHERE reason = 'channel_test'"
    )
    if row and row["at"]:
        return from_text(row["at"])
    return None


def load_of_alert(transaction: Transaction, alert: int, limit: int) -> list[Row]:
    """Return the messages of an alert, latest first."""
    return transaction.rows(_OF_ALERT, (alert, limit))


def parse_row(row: Row) -> Notification:
    """Return a row as a notification."""
    return Notification(
        id=row["id"],
        channel=row["channel"],
        message=from_json(row["message"]),
        created_at=from_text(row["created_at"]),
        attempts=row["attempts"],
        recipients=tuple(json.loads(row["recipients"])),
        members=(row["id"],),
    )
