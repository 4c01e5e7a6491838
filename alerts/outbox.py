"""What is owed: written in the transaction of its cause, claimed by lease, settled when the channel has taken it."""

import json
import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from alerts import book
from alerts.alert import TOLD, Change, Message, Notification, Reason, Receipt
from alerts.message import compose, from_json, to_json
from checks.finding import Severity
from store.instant import from_text, to_text
from store.store import Row, Transaction

LEASE = timedelta(minutes=2)

_INSERT = """
    INSERT INTO notification (id, alert, channel, reason, severity, message, created_at, not_before, state)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'pending')
"""
_CLAIM = """
    UPDATE notification SET state = 'leased', lease_until = :lease, attempts = attempts + 1
    WHERE id = (
      SELECT id FROM notification n
      WHERE channel = :channel AND not_before <= :now
        AND (state = 'pending' OR (state = 'leased' AND lease_until <= :now))
        -- a resolve never overtakes what it resolves: a ticket would be closed before it is opened
        AND (n.reason <> 'resolved' OR NOT EXISTS (SELECT 1 FROM notification e
                        WHERE e.alert = n.alert AND e.channel = n.channel AND e.rowid < n.rowid
                          AND e.state IN ('pending', 'leased') AND e.recipients = '[]'))
      ORDER BY CASE severity WHEN 'critical' THEN 0 WHEN 'high' THEN 1 WHEN 'warning' THEN 2 ELSE 3 END,
               created_at, rowid
      LIMIT 1)
    RETURNING *
"""
_THREAD = """
    SELECT remote FROM notification
    WHERE alert = ? AND channel = ? AND state = 'sent' AND remote <> '' ORDER BY sent_at LIMIT 1
"""
_SENT = """
    UPDATE notification
    SET state = 'sent', sent_at = ?, remote = ?, receipt = trim(receipt || '; ' || ?, '; '), lease_until = NULL
    WHERE id = ?
"""
_PARTLY = """
    UPDATE notification SET recipients = ?, receipt = trim(receipt || '; ' || ?, '; '), remote = ? WHERE id = ?
"""
_RETRY = "UPDATE notification SET state = 'pending', not_before = ?, last_error = ?, lease_until = NULL WHERE id = ?"
_DEAD = "UPDATE notification SET state = 'dead', last_error = ?, lease_until = NULL WHERE id = ?"
_EXPIRE = "UPDATE notification SET state = 'pending', lease_until = NULL WHERE state = 'leased'"
_WAITING = "SELECT * FROM notification WHERE state IN ('pending', 'leased') ORDER BY not_before, rowid"
_DUE = """
    SELECT count(*) AS due FROM notification n
    WHERE state = 'leased'
       OR (state = 'pending' AND (not_before <= :since OR attempts = 0)
           AND (n.reason <> 'resolved' OR NOT EXISTS (
                  SELECT 1 FROM notification e
                  WHERE e.alert = n.alert AND e.channel = n.channel AND e.rowid < n.rowid
                    AND e.state = 'pending' AND e.attempts > 0 AND e.not_before > :since AND e.recipients = '[]')))
"""
_UNSENT = """
    SELECT 1 AS unsent FROM notification
    WHERE alert = ? AND channel = ? AND state IN ('pending', 'leased') AND recipients = '[]' LIMIT 1
"""
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
_NEXT = """
    SELECT min(CASE state WHEN 'pending' THEN not_before ELSE lease_until END) AS at
    FROM notification WHERE channel = ? AND state IN ('pending', 'leased')
"""
_OLDEST = """
    SELECT channel, severity, min(created_at) AS at FROM notification WHERE state IN ('pending', 'leased') GROUP BY 1, 2
"""
_ONE = "SELECT * FROM notification WHERE id = ?"


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


def enqueue(
    transaction: Transaction, changes: Iterable[Change], instance: str, run: int | None, now: datetime
) -> list[str]:
    """Record every change and owe its messages, all in the caller's transaction; return the ids of the messages."""
    owed = []
    for change in changes:
        number = book.record(transaction, change, run, now)
        if change.reason in TOLD:
            told = replace(change, alert=replace(change.alert, id=number))
            message = compose(told, instance, now)
            owed += [
                owe(transaction, message, channel, now)
                for channel in change.channels
                if change.reason is not Reason.REPEATED or not _unsent(transaction, number, channel)
            ]
    return owed


def _unsent(transaction: Transaction, alert: int, channel: str) -> bool:
    """Say whether the channel has not even taken the last message: to repeat it would only make the pile higher."""
    return transaction.row(_UNSENT, (alert, channel)) is not None


def owe(transaction: Transaction, message: Message, channel: str, now: datetime) -> str:
    """Owe one message to one channel; return its id."""
    number = uuid.uuid4().hex
    values = (number, message.alert, channel, message.reason.value, message.severity.value, to_json(message))
    transaction.execute(_INSERT, (*values, to_text(now), to_text(now)))
    return number


def claim(transaction: Transaction, channel: str, now: datetime) -> Notification | None:
    """Take the most urgent message that is due for a channel; nobody else gets it while the lease lasts."""
    row = transaction.row(_CLAIM, {"channel": channel, "now": to_text(now), "lease": to_text(now + LEASE)})
    if row is None:
        return None
    thread = transaction.row(_THREAD, (row["alert"], channel))
    return replace(_notification(row), thread=thread["remote"] if thread else "")


def sent(transaction: Transaction, notification: Notification, receipt: Receipt, now: datetime) -> None:
    """The channel has taken it."""
    transaction.execute(_SENT, (to_text(now), receipt.remote, receipt.words, notification.id))


def partly(transaction: Transaction, notification: Notification, receipt: Receipt) -> None:
    """Some have taken it: from now on it is owed to the others only."""
    left = json.dumps(list(receipt.later), ensure_ascii=False)
    transaction.execute(_PARTLY, (left, receipt.words, receipt.remote, notification.id))


def retry(transaction: Transaction, notification: Notification, error: str, at: datetime) -> None:
    """Try again, not before that instant."""
    transaction.execute(_RETRY, (to_text(at), error, notification.id))


def dead(transaction: Transaction, notification: Notification, error: str) -> None:
    """Give up; the courier tells it elsewhere."""
    transaction.execute(_DEAD, (error, notification.id))


def expire_leases(transaction: Transaction) -> int:
    """Take back what a former owner of the outbox had claimed. Only for who holds the service's lock."""
    return transaction.execute(_EXPIRE)


def stranded(transaction: Transaction, channels: Collection[str]) -> list[Notification]:
    """Return what is owed to channels that the configuration no longer knows."""
    return [_notification(row) for row in transaction.rows(_WAITING) if row["channel"] not in channels]


def due(transaction: Transaction, since: datetime) -> int:
    """Count what is being sent, and what could be but has not been tried since an instant."""
    row = transaction.row(_DUE, {"since": to_text(since)})
    return row["due"] if row else 0


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


def next_due(transaction: Transaction, channel: str) -> datetime | None:
    """Return when the channel's next message is to be tried; None: there is none."""
    row = transaction.row(_NEXT, (channel,))
    return from_text(row["at"]) if row and row["at"] else None


def oldest(transaction: Transaction) -> list[Oldest]:
    """Return since when each channel owes messages of each severity."""
    return [
        Oldest(row["channel"], Severity(row["severity"]), from_text(row["at"])) for row in transaction.rows(_OLDEST)
    ]


def state(transaction: Transaction, number: str) -> tuple[str, str, str, str]:
    """Return a message's state, what was accepted of it, its last error, and its channel."""
    row = transaction.row(_ONE, (number,))
    return (row["state"], row["receipt"], row["last_error"], row["channel"]) if row else ("unknown", "", "", "")


def _notification(row: Row) -> Notification:
    return Notification(
        id=row["id"],
        channel=row["channel"],
        message=from_json(row["message"]),
        created_at=from_text(row["created_at"]),
        attempts=row["attempts"],
        recipients=tuple(json.loads(row["recipients"])),
    )
