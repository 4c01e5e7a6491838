"""Leases: the next notification of a channel, with those sent along in the same message."""

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from alerts import alert_store
from alerts.alert import Alert, Change, Message, Notification, Reason, State
from alerts.digest import LATE, combine, combined_id, mark_late, same_message
from alerts.message import compose, from_json
from alerts.policy import Policy
from store.store import Row, Transaction, Value
from store.timestamps import from_text, to_text

LEASE = timedelta(minutes=5)
"""Longer than any delivery takes."""
MOST_ROOTS = 20
"""First messages updated by one delivery; each is a request of its own."""

_EXPIRE = """
    UPDATE notification SET state = 'pending', lease_until = NULL
    WHERE channel = ? AND state = 'leased' AND lease_until <= ?
"""
_LEAD = """
    SELECT * FROM ready
    WHERE channel = :channel AND (not_before <= :now OR (:ignore_grouping AND attempts = 0))
    ORDER BY urgency, created_at, place LIMIT 1
"""
_COPY = """
    SELECT n.*, coalesce(v.remote, '') AS thread
    FROM notification n LEFT JOIN conversation v ON v.alert = n.alert AND v.channel = n.channel
    WHERE n.channel = ? AND n.bundle = ? AND n.state = 'pending' ORDER BY n.rowid
"""
_COMPANIONS = """
    SELECT * FROM ready WHERE channel = :channel AND bundle = '' AND alert IS NOT NULL
      AND (:everything OR (thread = :thread AND (:bundles OR alert = :alert)))
    ORDER BY place
"""
_LEASE = """
    UPDATE notification SET state = 'leased', lease_until = ?, attempts = attempts + 1, bundle = ?
    WHERE id IN (SELECT value FROM json_each(?))
"""
_SUPERSEDE = """
    -- an older message with recipients left must not arrive after the newer one, so it ends here
    UPDATE notification
    SET state = 'sent', sent_at = :now, receipt = receipt || '; the others got a newer message'
    WHERE channel = :channel AND state = 'pending' AND recipients <> '[]'
      AND alert IN (SELECT alert FROM notification m
                    WHERE m.id IN (SELECT value FROM json_each(:members)))
      AND id NOT IN (SELECT value FROM json_each(:members))
      AND (SELECT count(*) FROM notification b
           WHERE b.bundle = notification.bundle AND b.channel = notification.channel) = 1
"""
_NEXT = """
    SELECT min(CASE state WHEN 'pending' THEN not_before ELSE lease_until END) AS at
    FROM notification WHERE channel = ? AND state IN ('pending', 'leased')
"""
_THREAD_ALERTS = "SELECT alert FROM conversation WHERE channel = ? AND remote = ?"


@dataclass(frozen=True, slots=True)
class LeaseRequest:
    """The channel to lease for, and its properties."""

    channel: str
    groups: bool = False
    """One message may cover several alerts."""
    edits: bool = False
    """First messages can be updated."""
    ignore_grouping: bool = False
    """Lease grouped messages at once."""


def lease(
    transaction: Transaction, request: LeaseRequest, policy: Policy, now: datetime
) -> Notification | None:
    """Lease the most urgent due message and its group; None if nothing is due."""
    transaction.execute(_EXPIRE, (request.channel, to_text(now)))
    at = {"channel": request.channel, "now": to_text(now)}
    lead = transaction.row(_LEAD, {**at, "ignore_grouping": request.ignore_grouping})
    if lead is None:
        return None
    late = lead["attempts"] > 0 and now - from_text(lead["created_at"]) > LATE
    everything = request.groups and late
    rows = _together(transaction, request, lead, everything=everything)
    members = [row["id"] for row in rows]
    number = lead["bundle"] or combined_id(members)
    transaction.execute(_LEASE, (to_text(now + LEASE), number, json.dumps(members)))
    transaction.execute(_SUPERSEDE, {**at, "members": json.dumps(members)})
    threads = {row["thread"] for row in rows}
    thread = lead["thread"] if len(threads) == 1 else ""
    return Notification(
        id=number,
        channel=request.channel,
        message=_message(rows, lead, policy, now),
        created_at=min(from_text(row["created_at"]) for row in rows),
        attempts=max(row["attempts"] for row in rows) + 1,
        thread=thread,
        recipients=tuple(json.loads(lead["recipients"])),
        members=tuple(members),
        again=bool(lead["bundle"]),
        edits_to_make=_edits(transaction, request, threads, policy),
    )


def next_due(transaction: Transaction, channel: str) -> datetime | None:
    """Return the time of the channel's next attempt; None if nothing waits."""
    row = transaction.row(_NEXT, (channel,))
    if row and row["at"]:
        return from_text(row["at"])
    return None


def _together(
    transaction: Transaction, request: LeaseRequest, lead: Row, *, everything: bool
) -> list[Row]:
    """Return the rows of one copy: those of an earlier attempt, or all that may go together."""
    if lead["bundle"]:
        return transaction.rows(_COPY, (request.channel, lead["bundle"]))
    if lead["alert"] is None:
        return [lead]
    wanted: dict[str, Value] = {
        "thread": lead["thread"],
        "alert": lead["alert"],
        "bundles": request.groups,
        "everything": everything,
    }
    return transaction.rows(_COMPANIONS, {"channel": request.channel, **wanted})


def _message(rows: Sequence[Row], lead: Row, policy: Policy, now: datetime) -> Message:
    oldest = min(from_text(row["created_at"]) for row in rows)
    meant = policy.group_interval if not lead["attempts"] else timedelta()
    return mark_late(
        combine([from_json(row["message"]) for row in rows]),
        now - oldest - meant,
        lead["last_error"],
    )


def _roots(
    transaction: Transaction, channel: str, threads: Collection[str], policy: Policy
) -> Iterator[tuple[str, Message]]:
    """Yield the new content of the first messages of these alerts."""
    for thread in sorted(threads)[:MOST_ROOTS]:
        alerts_in_thread = [
            row["alert"] for row in transaction.rows(_THREAD_ALERTS, (channel, thread))
        ]
        messages = [
            updated_message(alert, policy, channel)
            for alert in alert_store.load_alerts(transaction, alerts_in_thread)
        ]
        yield thread, messages[0] if len(messages) == 1 else same_message(messages)


def updated_message(alert: Alert, policy: Policy, channel: str) -> Message:
    """Return the current message about an alert."""
    reason = Reason.RESOLVED if alert.state is State.RESOLVED else Reason.OPENED
    at = alert.resolved_at or alert.last_seen_at
    return compose(Change(alert, reason), policy, channel, at)


def _edits(
    transaction: Transaction, request: LeaseRequest, threads: set[str], policy: Policy
) -> tuple[tuple[str, Message], ...]:
    """Return the first messages to update, if the channel can."""
    if not request.edits:
        return ()
    return tuple(_roots(transaction, request.channel, threads - {""}, policy))
