"""What is owed: written in the transaction of its cause, settled when the channel has taken it."""

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
    INSERT INTO notification (id, alert, channel, reason, severity, message, created_at, not_before, state, generation,
                              run, urgency)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'pending', ?, ?, ?)
"""
_HASTEN = (
    "UPDATE notification SET not_before = min(not_before, ?) WHERE alert = ? AND channel = ? AND state = 'pending'"
)
_SENT = """
    UPDATE notification
    SET state = 'sent', sent_at = ?, remote = ?, receipt = trim(receipt || '; ' || ?, '; '), lease_until = NULL
    WHERE id IN (SELECT value FROM json_each(?))
"""
_CONVERSATION = """
    INSERT INTO conversation (alert, channel, remote, subject)
    SELECT DISTINCT alert, channel, ?, ? FROM notification
    WHERE id IN (SELECT value FROM json_each(?)) AND alert IS NOT NULL
    ON CONFLICT DO UPDATE SET remote = excluded.remote, subject = excluded.subject WHERE ?
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
_OLD = "SELECT * FROM notification WHERE id IN (SELECT value FROM json_each(?)) AND created_at < ? ORDER BY rowid"
_EXPIRE = "UPDATE notification SET state = 'pending', lease_until = NULL WHERE state = 'leased'"
_WAITING = "SELECT * FROM notification WHERE state IN ('pending', 'leased') ORDER BY not_before, rowid"
_LEFT = "SELECT count(*) AS waiting FROM notification WHERE state IN ('pending', 'leased')"
_UNSENT = """
    SELECT 1 AS unsent FROM notification
    WHERE alert = ? AND channel = ? AND state IN ('pending', 'leased') AND recipients = '[]'
      AND reason NOT IN ('severity_changed', 'acknowledged') LIMIT 1
"""
_LAST_OF_RUN = "SELECT max(sent_at) AS at FROM notification WHERE run = ? AND channel = ? AND state = 'sent'"
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
_COUNTS = "SELECT channel, state, count(*) AS messages, min(created_at) AS oldest FROM notification GROUP BY 1, 2"
_OLDEST = """
    SELECT channel, severity, min(created_at) AS at FROM notification WHERE state IN ('pending', 'leased') GROUP BY 1, 2
"""
_OVERDUE = """
    SELECT n.channel, min(n.created_at) AS at, max(n.last_error) AS error FROM notification n
    WHERE n.state IN ('pending', 'leased') AND n.attempts > 0 AND n.created_at <= :before AND n.recipients = '[]'
    GROUP BY 1
"""
_URGENT = """
    SELECT n.* FROM notification n JOIN alert a ON a.id = n.alert AND a.resolved_at IS NULL
    WHERE n.channel = ? AND n.state IN ('pending', 'leased') AND n.urgency = 0 ORDER BY n.rowid
"""
_REACHED = """
    SELECT 1 AS reached FROM notification WHERE alert = ? AND generation = ? AND channel = ? AND state <> 'dead' LIMIT 1
"""
_ONE = "SELECT * FROM notification WHERE id = ?"
_OF_ALERT = "SELECT * FROM notification WHERE alert = ? ORDER BY created_at DESC, rowid DESC LIMIT ?"


@dataclass(frozen=True, slots=True)
class Wait:
    """How long a message waits for others to go with it, and of which run it is."""

    span: timedelta = timedelta()
    run: int | None = None


@dataclass(frozen=True, slots=True)
class Oldest:
    """Since when a channel owes a message of a severity."""

    channel: str
    severity: Severity
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Waiting:
    """One line of `sereno alerts outbox`."""

    id: str
    channel: str
    title: str
    state: str
    attempts: int
    not_before: datetime
    last_error: str


def owe(transaction: Transaction, message: Message, channel: str, now: datetime, wait: Wait = Wait()) -> str:
    """Owe one message to one channel, to be sent after a wait at the earliest; return its id."""
    number = uuid.uuid4().hex
    what = (number, message.alert, channel, message.reason.value, message.severity.value, to_json(message))
    urgency = len(Severity) - 1 - message.severity.rank
    transaction.execute(_INSERT, (*what, to_text(now), to_text(now + wait.span), message.generation, wait.run, urgency))
    if message.severity is Severity.CRITICAL:  # what it may have to come after is not waited for long
        transaction.execute(_HASTEN, (to_text(now), message.alert, channel))
    transaction.ring()
    return number


def unsent(transaction: Transaction, alert: int, channel: str) -> bool:
    """Say whether the channel has not even taken the last message: to repeat it would only make the pile higher."""
    return transaction.row(_UNSENT, (alert, channel)) is not None


def last_of_run(transaction: Transaction, run: int, channel: str) -> datetime | None:
    """Return when the channel last took a message of a run."""
    row = transaction.row(_LAST_OF_RUN, (run, channel))
    return from_text(row["at"]) if row and row["at"] else None


def sent(transaction: Transaction, notification: Notification, receipt: Receipt, now: datetime) -> None:
    """The channel has taken it; what it calls it is where later messages of these alerts go."""
    members = json.dumps(notification.members)
    transaction.execute(_SENT, (to_text(now), receipt.remote, receipt.words, members))
    if receipt.remote:
        transaction.execute(_CONVERSATION, (receipt.remote, notification.message.title, members, receipt.anew))


def partly(transaction: Transaction, notification: Notification, receipt: Receipt) -> None:
    """Some have taken it: from now on it is owed to the others only."""
    left = json.dumps(list(receipt.later), ensure_ascii=False)
    transaction.execute(_PARTLY, (left, receipt.words, receipt.remote, json.dumps(notification.members)))


def retry(transaction: Transaction, notification: Notification, error: str, at: datetime, *, same: bool) -> None:
    """Try again, not before that instant; as the `same` copy, if somebody may have taken it."""
    transaction.execute(_RETRY, (to_text(at), error, same, json.dumps(notification.members)))


def alone(transaction: Transaction, notification: Notification, error: str) -> None:
    """What was refused together is tried one by one: one bad message takes no other with it."""
    transaction.execute(_ALONE, (error, json.dumps(notification.members)))


def old(transaction: Transaction, notification: Notification, before: datetime) -> list[Notification]:
    """Return those of its messages, each alone, that were owed before an instant."""
    rows = transaction.rows(_OLD, (json.dumps(notification.members), to_text(before)))
    return [read(row) for row in rows]


def dead(transaction: Transaction, notification: Notification, error: str) -> None:
    """Give up; the courier tells it elsewhere."""
    transaction.execute(_DEAD, (error, json.dumps(notification.members)))


def expire_leases(transaction: Transaction) -> int:
    """Take back what a former owner of the outbox had claimed. Only for who holds the service's lock."""
    return transaction.execute(_EXPIRE)


def stranded(transaction: Transaction, channels: Collection[str]) -> list[Notification]:
    """Return what is owed to channels that the configuration no longer knows."""
    return [read(row) for row in transaction.rows(_WAITING) if row["channel"] not in channels]


def overdue(transaction: Transaction, before: datetime) -> dict[str, tuple[datetime, str]]:
    """Return the channels that were tried, and owe something since before an instant: since when, and why."""
    rows = transaction.rows(_OVERDUE, {"before": to_text(before)})
    return {row["channel"]: (from_text(row["at"]), row["error"]) for row in rows}


def urgent(transaction: Transaction, channel: str) -> list[Notification]:
    """Return what is critical, still so, and waits for a channel."""
    return [read(row) for row in transaction.rows(_URGENT, (channel,))]


def reached(transaction: Transaction, alert: Alert, channel: str) -> bool:
    """Say whether a channel was told, or is to be told, of an alert in its present life."""
    return transaction.row(_REACHED, (alert.id, alert.generation, channel)) is not None


def waiting(transaction: Transaction) -> list[Waiting]:
    """List what is not yet delivered, and why."""
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


def left(transaction: Transaction) -> int:
    """Count what is not yet delivered."""
    row = transaction.row(_LEFT)
    return row["waiting"] if row else 0


def ended(transaction: Transaction, before: datetime) -> int:
    """Count the messages that were sent, or given up, before; those of an alert that is not over are not meant."""
    return int(str(transaction.rows(_ENDED, (to_text(before),))[0]["messages"]))


def forget(transaction: Transaction, before: datetime) -> None:
    """Forget them."""
    transaction.execute(_FORGET, (to_text(before),))


def counts(transaction: Transaction) -> dict[str, dict[str, tuple[int, datetime]]]:
    """Count the messages of each channel by state, each with the instant of the oldest."""
    found: dict[str, dict[str, tuple[int, datetime]]] = defaultdict(dict)
    for row in transaction.rows(_COUNTS):
        found[row["channel"]][row["state"]] = (row["messages"], from_text(row["oldest"]))
    return found


def oldest(transaction: Transaction) -> list[Oldest]:
    """Return since when each channel owes messages of each severity."""
    return [
        Oldest(row["channel"], Severity(row["severity"]), from_text(row["at"])) for row in transaction.rows(_OLDEST)
    ]


def state(transaction: Transaction, number: str) -> tuple[str, str, str, str]:
    """Return a message's state, what was accepted of it, its last error, and its channel."""
    row = transaction.row(_ONE, (number,))
    return (row["state"], row["receipt"], row["last_error"], row["channel"]) if row else ("unknown", "", "", "")


def last_drill(transaction: Transaction) -> datetime | None:
    """Return when channels were last tried."""
    row = transaction.row("SELECT max(created_at) AS at FROM notification WHERE reason = 'drill'")
    return from_text(row["at"]) if row and row["at"] else None


def of_alert(transaction: Transaction, alert: int, limit: int) -> list[Row]:
    """Read the messages of an alert, the last first."""
    return transaction.rows(_OF_ALERT, (alert, limit))


def read(row: Row) -> Notification:
    """Make a notification of a row of the outbox."""
    return Notification(
        id=row["id"],
        channel=row["channel"],
        message=from_json(row["message"]),
        created_at=from_text(row["created_at"]),
        attempts=row["attempts"],
        recipients=tuple(json.loads(row["recipients"])),
        members=(row["id"],),
    )
