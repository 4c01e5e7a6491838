"""What a channel cannot say is itself an alert, told elsewhere; and what cannot wait for it goes by the fallback."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import structlog

from alerts import alert_store, outbox, silences
from alerts.alert import Alert, Change, Notification, Reason, Receipt, State
from alerts.lease import as_it_is
from alerts.policy import UNDELIVERED, Policy
from alerts.processor import Teller
from domain.coverage import Coverage
from domain.finding import Finding, Identity, Severity
from domain.redaction import scrub
from store.store import Transaction

_log = structlog.get_logger("obstacles")
REFUSED = "recipient_refused"
LOST = "not delivered"
MOST_TITLES = 20


def given_up(transaction: Transaction, policy: Policy, notification: Notification, reason: str, now: datetime) -> None:
    """A message will never arrive: settle it, and tell so on every other channel that takes high ones.

    Where that is known already, its name is added, and that is told within `group_interval`.
    """
    channel = notification.channel
    _by_the_fallback(transaction, policy, channel, [notification], now)
    outbox.dead(transaction, notification, reason)
    before = _about(transaction, policy, channel)
    former = before.evidence.get(LOST, ()) if before else ()
    titles = list(dict.fromkeys((*former, notification.message.title)))[-MOST_TITLES:]
    finding = _silent(policy, channel, f"did not take a message: {reason}", {LOST: titles})
    Teller(transaction, policy, now).tell([finding])
    known = _about(transaction, policy, channel)
    if before and known and titles != list(former):
        soon = min(filter(None, (known.next_repeat_at, now + policy.group_interval)))
        alert_store.record(transaction, Change(replace(known, next_repeat_at=soon), Reason.SEEN), None, now)


def gone(transaction: Transaction, policy: Policy, channels: Collection[str], now: datetime) -> None:
    """What is owed to, or open about, channels that the configuration does not have any more is over, and told."""
    areas = [
        Coverage(alert.kind, object=alert.object, final=True)
        for alert in _open(transaction, UNDELIVERED, REFUSED)
        if alert.object.partition(": ")[0] not in channels
    ]
    Teller(transaction, policy, now).tell((), areas)
    for notification in outbox.stranded(transaction, channels):
        given_up(transaction, policy, notification, "the configuration no longer has this channel", now)


def watch(transaction: Transaction, policy: Policy, now: datetime) -> None:
    """A channel that has not delivered for its time is told elsewhere, and what is critical goes by the fallback."""
    overdue = outbox.overdue(transaction, now - policy.undelivered)
    told = (
        {one.object for one in _open(transaction, UNDELIVERED) if one.state is not State.PENDING} if overdue else set()
    )
    if overdue.keys() - told and policy.ways is not None and policy.ways <= overdue.keys() | told:
        _log.critical("alerts.undeliverable", channels=sorted(policy.ways))
    for channel, (since, error) in overdue.items():
        if channel not in told:
            minutes = policy.undelivered.total_seconds() / 60
            what = f"has not delivered a message for {minutes:.0f} min: {error or 'no answer'}"
            finding = _silent(policy, channel, what, {"waiting since": f"{since:%Y-%m-%d %H:%M} UTC"})
            Teller(transaction, policy, now).tell([finding])
        _by_the_fallback(transaction, policy, channel, outbox.urgent(transaction, channel), now)


def _by_the_fallback(
    transaction: Transaction, policy: Policy, channel: str, waiting: Sequence[Notification], now: datetime
) -> None:
    """Let what is critical, and a channel does not take, go by those that are meant for that; each alert once.

    Not what is over, somebody looks after, or is kept quiet.
    """
    silent = silences.active(transaction, now)
    for notification in waiting:
        alert = alert_store.one(transaction, notification.message.alert or 0)
        if alert is None or alert.state is not State.FIRING or alert.severity is not Severity.CRITICAL:
            continue
        for other in () if policy.silenced(alert, silent, now) else policy.fallback:
            if other != channel and not outbox.reached(transaction, alert, other):
                message = as_it_is(alert, policy)  # what was owed may be about its former life, or only a correction
                details = {"not delivered by": channel, **message.details}
                outbox.owe(transaction, replace(message, details=details, occurred_at=now), other, now)


def delivered(
    transaction: Transaction, policy: Policy, notification: Notification, receipt: Receipt, now: datetime
) -> None:
    """A delivery ends what was open about its channel; who was refused is told, there too if others took it."""
    since = now - policy.undelivered
    Teller(transaction, policy, now).tell((), list(_over(transaction, notification, receipt, since)))
    dumb = policy if receipt.accepted else policy.without(notification.channel)
    for who, why in receipt.refused.items():
        finding = Finding(
            Identity(REFUSED, policy.instance, object=f"{notification.channel}: {who}"),
            Severity.HIGH,
            scrub(f"{who} is not reached by channel {notification.channel}, others are: {why}"),
            remedy=f"mend the address in channels.{notification.channel}, "
            f"then: sereno alerts test {notification.channel}",
            evidence={"message": notification.message.title},
        )
        Teller(transaction, dumb, now).tell([finding])


def _over(
    transaction: Transaction, notification: Notification, receipt: Receipt, since: datetime
) -> Iterator[Coverage]:
    """Yield what a delivery ends: the channel works, unless another message waits for it still; and so does each

    recipient that is not refused any more. An address that was taken out of the configuration is not either.
    """
    told = any(alert.object == notification.channel for alert in _open(transaction, UNDELIVERED))
    if told and notification.channel not in outbox.overdue(transaction, since):
        yield Coverage(UNDELIVERED, object=notification.channel)
    prefix = f"{notification.channel}: "
    still = {f"{prefix}{who}" for who in (*receipt.refused, *receipt.later)}
    spoken_for = {f"{prefix}{who}" for who in receipt.accepted}
    refused = {alert.object for alert in _open(transaction, REFUSED) if alert.object.startswith(prefix)}
    ended = (refused if not notification.recipients else refused & spoken_for) - still
    yield from (Coverage(REFUSED, object=one, final=True) for one in ended)


def _open(transaction: Transaction, *kinds: str) -> Sequence[Alert]:
    return alert_store.concerned(transaction, (), [Coverage(kind) for kind in kinds]).alerts


def _about(transaction: Transaction, policy: Policy, channel: str) -> Alert | None:
    """Return this instance's alert that a channel does not deliver, if it is open."""
    fingerprint = Identity(UNDELIVERED, policy.instance, object=channel).fingerprint()
    return next(iter(alert_store.concerned(transaction, [fingerprint], []).alerts), None)


def _silent(policy: Policy, channel: str, what: str, evidence: Mapping[str, object]) -> Finding:
    gone = policy.ways is not None and channel not in policy.ways
    ending = "nothing, if it was taken out on purpose: this ends with the next start"
    return Finding(
        Identity(UNDELIVERED, policy.instance, object=channel),
        Severity.HIGH,
        scrub(f"channel {channel} {what}"),
        remedy=ending if gone else f"mend channels.{channel}, then: sereno alerts test {channel}",
        evidence=evidence,
    )
