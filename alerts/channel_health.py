"""Alerts about channels that fail, and the fallback for critical messages that they hold up."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import structlog

from alerts import alert_store, outbox, silences
from alerts.alert import Alert, Change, Notification, Reason, Receipt, State
from alerts.lease import updated_message
from alerts.policy import Policy
from alerts.processor import AlertProcessor
from domain.coverage import Coverage
from domain.finding import Finding, Identity, Severity
from domain.kinds import CHANNEL_UNDELIVERED, RECIPIENT_REFUSED
from domain.redaction import redact
from store.store import Transaction

_log = structlog.get_logger("channels")
LOST = "not delivered"
MOST_TITLES = 20


def report_dead(
    transaction: Transaction, policy: Policy, notification: Notification, reason: str, now: datetime
) -> None:
    """Mark an undeliverable message as dead and alert about it on other channels.

    If such an alert is open, the message's title is added and notified within `group_interval`.
    """
    channel = notification.channel
    _send_by_fallback(transaction, policy, channel, [notification], now)
    outbox.mark_dead(transaction, notification, reason)
    before = _about(transaction, policy, channel)
    former = before.evidence.get(LOST, ()) if before else ()
    titles = list(dict.fromkeys((*former, notification.message.title)))[-MOST_TITLES:]
    finding = _silent(policy, channel, f"refused a message: {reason}", {LOST: titles})
    AlertProcessor(transaction, policy, now).process([finding])
    known = _about(transaction, policy, channel)
    if before and known and titles != list(former):
        soon = min(filter(None, (known.next_repeat_at, now + policy.group_interval)))
        alert_store.save_change(
            transaction, Change(replace(known, next_repeat_at=soon), Reason.SEEN), None, now
        )


def report_refusing(
    transaction: Transaction, policy: Policy, channel: str, reason: str, now: datetime
) -> None:
    """Alert at once about a channel that refuses every message; send critical ones by fallback."""
    if _about(transaction, policy, channel) is None:
        finding = _silent(policy, channel, f"refuses every message: {reason}", {})
        AlertProcessor(transaction, policy, now).process([finding])
    _send_by_fallback(transaction, policy, channel, outbox.load_urgent(transaction, channel), now)


def report_removed_channels(
    transaction: Transaction, policy: Policy, channels: Collection[str], now: datetime
) -> None:
    """End the notifications and alerts of channels that are no longer configured."""
    areas = [
        Coverage(alert.kind, object=alert.object, final=True)
        for alert in _open(transaction, CHANNEL_UNDELIVERED.name, RECIPIENT_REFUSED.name)
        if alert.object.partition(": ")[0] not in channels
    ]
    AlertProcessor(transaction, policy, now).process((), areas)
    for notification in outbox.for_removed_channels(transaction, channels):
        report_dead(transaction, policy, notification, "the channel is no longer configured", now)


def check_channels(transaction: Transaction, policy: Policy, now: datetime) -> None:
    """Alert about channels that deliver nothing; send critical messages by the fallback."""
    overdue = outbox.overdue_channels(transaction, now - policy.undelivered)
    reported = (
        {
            one.object
            for one in _open(transaction, CHANNEL_UNDELIVERED.name)
            if one.state is not State.PENDING
        }
        if overdue
        else set()
    )
    if (
        overdue.keys() - reported
        and policy.channel_names is not None
        and policy.channel_names <= overdue.keys() | reported
    ):
        _log.critical("alerts.no_channel", channels=sorted(policy.channel_names))
    for channel, (since, error) in overdue.items():
        if channel not in reported:
            minutes = policy.undelivered.total_seconds() / 60
            what = f"has delivered nothing for {minutes:.0f} min: {error or 'no answer'}"
            finding = _silent(policy, channel, what, {"waiting since": policy.local_time(since)})
            AlertProcessor(transaction, policy, now).process([finding])
        _send_by_fallback(
            transaction, policy, channel, outbox.load_urgent(transaction, channel), now
        )


def _send_by_fallback(
    transaction: Transaction,
    policy: Policy,
    channel: str,
    waiting: Sequence[Notification],
    now: datetime,
) -> None:
    """Send critical messages that a channel holds up by the fallback, each alert once.

    Not resolved, acknowledged or silenced ones.
    """
    silent = silences.active(transaction, now)
    for notification in waiting:
        alert = alert_store.load_alert(transaction, notification.message.alert or 0)
        if (
            alert is None
            or alert.state is not State.FIRING
            or alert.severity is not Severity.CRITICAL
        ):
            continue
        for other in () if policy.silenced(alert, silent, now) else policy.fallback:
            if other != channel and not outbox.was_notified(transaction, alert, other):
                # it may be about an earlier opening of the alert, or be only a correction
                message = updated_message(alert, policy, other)
                details = {"not delivered by": channel, **message.details}
                outbox.enqueue(
                    transaction, replace(message, details=details, occurred_at=now), other, now
                )


def report_delivered(
    transaction: Transaction,
    policy: Policy,
    notification: Notification,
    receipt: Receipt,
    now: datetime,
) -> None:
    """Resolve the alerts about a channel after a delivery; alert about refused recipients."""
    since = now - policy.undelivered
    AlertProcessor(transaction, policy, now).process(
        (), list(_over(transaction, notification, receipt, since))
    )
    dumb = policy if receipt.accepted else policy.without(notification.channel)
    for who, why in receipt.refused.items():
        finding = Finding(
            Identity(
                RECIPIENT_REFUSED.name, policy.instance, object=f"{notification.channel}: {who}"
            ),
            Severity.HIGH,
            redact(f"channel {notification.channel} does not reach {who}, but others: {why}"),
            remedy=f"correct the address in channels.{notification.channel}, "
            f"then: sereno alerts test {notification.channel}",
            evidence={"message": notification.message.title},
        )
        AlertProcessor(transaction, dumb, now).process([finding])


def _over(
    transaction: Transaction, notification: Notification, receipt: Receipt, since: datetime
) -> Iterator[Coverage]:
    """Yield the alerts that a delivery resolves.

    The channel, if nothing else waits, and accepted recipients. A recipient removed from the
    configuration is resolved as well.
    """
    reported = any(
        alert.object == notification.channel
        for alert in _open(transaction, CHANNEL_UNDELIVERED.name)
    )
    if reported and notification.channel not in outbox.overdue_channels(transaction, since):
        yield Coverage(CHANNEL_UNDELIVERED.name, object=notification.channel)
    prefix = f"{notification.channel}: "
    still = {f"{prefix}{who}" for who in (*receipt.refused, *receipt.later)}
    answered = {f"{prefix}{who}" for who in receipt.accepted}
    refused = {
        alert.object
        for alert in _open(transaction, RECIPIENT_REFUSED.name)
        if alert.object.startswith(prefix)
    }
    ended = (refused if not notification.recipients else refused & answered) - still
    yield from (Coverage(RECIPIENT_REFUSED.name, object=one, final=True) for one in ended)


def _open(transaction: Transaction, *kinds: str) -> Sequence[Alert]:
    return alert_store.load_affected(transaction, (), [Coverage(kind) for kind in kinds]).alerts


def _about(transaction: Transaction, policy: Policy, channel: str) -> Alert | None:
    """Return the open alert of this instance about a channel."""
    fingerprint = Identity(CHANNEL_UNDELIVERED.name, policy.instance, object=channel).fingerprint()
    return next(iter(alert_store.load_affected(transaction, [fingerprint], []).alerts), None)


def _silent(policy: Policy, channel: str, what: str, evidence: Mapping[str, object]) -> Finding:
    gone = policy.channel_names is not None and channel not in policy.channel_names
    ending = "nothing if it was removed on purpose: the alert ends at the next start"
    return Finding(
        Identity(CHANNEL_UNDELIVERED.name, policy.instance, object=channel),
        Severity.HIGH,
        redact(f"channel {channel} {what}"),
        remedy=ending
        if gone
        else f"correct channels.{channel}, then: sereno alerts test {channel}",
        evidence=evidence,
    )
