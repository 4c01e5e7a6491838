"""Carries what the outbox owes. One worker a channel: a dead one delays no other. At least once, always the same id."""

import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import structlog

from alerts import book, outbox
from alerts.alert import Notification, Receipt
from alerts.channels.channel import Channel, DeliveryError, Failure
from alerts.policy import Coverage, Known, Policy, decide
from alerts.scrub import scrub
from checks.finding import Finding, Identity, Severity
from store.store import Store, StoreError, Transaction

HORIZON = timedelta(hours=72)
IDLE_SECONDS = 1.0
LOOK_SECONDS = 15.0
LAST_SECONDS = 5.0
BROKEN_STORE_SECONDS = 5.0
_URGENT = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0)
_PATIENT = (2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0)
UNDELIVERED = "channel_undelivered"
REFUSED = "recipient_refused"

_log = structlog.get_logger("courier")


def now() -> datetime:
    """Return the instant on the wall clock."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Courier:
    """What is needed to carry messages: the file, the channels, and whom to tell when one of them is dead."""

    store: Store
    channels: Mapping[str, Channel]
    policy: Policy
    instance: str
    clock: Callable[[], datetime] = now

    def work(self, name: str, stop: threading.Event, beat: Callable[[str], object] = lambda _: None) -> None:
        """Deliver for one channel until told to stop. A full disk is waited out, not died of."""
        seen, until = (0, 0), 0.0
        while not stop.is_set():
            beat(f"courier {name}")
            try:
                before = self.store.changed
                if before != seen or time.monotonic() >= until:  # somebody has written since we looked, or it is time
                    wait = self._patience(name)
                    if wait <= 0 and self.deliver_one(name):
                        continue
                    seen, until = before, time.monotonic() + wait
                stop.wait(IDLE_SECONDS)
            except StoreError as error:
                _log.error("courier.store_failed", channel=name, error=str(error))
                stop.wait(BROKEN_STORE_SECONDS)

    def _patience(self, name: str) -> float:
        """Return how long there is nothing to do, if nobody writes: a file's time may be too coarse to tell."""
        with self.store.reading() as transaction:
            due = outbox.next_due(transaction, name)
        return LOOK_SECONDS if due is None else min(LOOK_SECONDS, (due - self.clock()).total_seconds())

    def start(self, stop: threading.Event, beat: Callable[[str], object] = lambda _: None) -> list[threading.Thread]:
        """Begin one worker for each channel; each says by `beat` that it goes on."""
        with self.store.transaction() as transaction:
            outbox.expire_leases(transaction)
            self._forget_channels(transaction)
            for notification in outbox.stranded(transaction, self.channels):
                reason = "the configuration no longer has this channel"
                outbox.dead(transaction, notification, reason)
                cure = "nothing, if it was taken out on purpose: this ends with the next start"
                finding = replace(self._dead(notification, reason), remedy=cure)
                self._tell_elsewhere(transaction, notification.channel, finding, self.clock())
        workers = [
            threading.Thread(target=self.work, args=(name, stop, beat), name=f"courier {name}", daemon=True)
            for name in self.channels
        ]
        for worker in workers:
            worker.start()
        return workers

    def drain(self, seconds: float) -> int:
        """Try once to deliver all that is due, so long at the most; return how much was not tried.

        Needs the service's lock.
        """
        since = self.clock()
        stop = threading.Event()
        workers = self.start(stop)
        deadline = time.monotonic() + seconds
        while (due := self._due(since)) and time.monotonic() < deadline:
            stop.wait(0.05)
        stop.set()
        for worker in workers:
            worker.join(max(0.0, deadline - time.monotonic()) + LAST_SECONDS)
        return due

    def deliver_one(self, name: str) -> bool:
        """Deliver the channel's most urgent message; say whether there was one."""
        with self.store.transaction() as transaction:
            notification = outbox.claim(transaction, name, self.clock())
        if notification is None:
            return False
        try:
            receipt = self.channels[name].deliver(notification)
        except DeliveryError as error:
            self._failed(notification, error)
        except Exception as error:  # noqa: BLE001 - one poisoned message must not end the channel
            _log.exception("delivery.broke", channel=name, notification=notification.id)
            self._failed(notification, DeliveryError(Failure.TRANSIENT, type(error).__name__))
        else:
            self._delivered(notification, receipt)
        return True

    def _delivered(self, notification: Notification, receipt: Receipt) -> None:
        moment = self.clock()
        given_up = moment - notification.created_at > HORIZON
        refused = {**receipt.refused, **(receipt.later if given_up else {})}
        with self.store.transaction() as transaction:
            if receipt.later and not given_up:
                outbox.partly(transaction, notification, receipt)
                reason = scrub("; ".join(f"{who}: {why}" for who, why in receipt.later.items()))
                wait = _wait(notification, DeliveryError(Failure.TRANSIENT, reason))
                outbox.retry(transaction, notification, reason, moment + timedelta(seconds=wait))
            else:
                outbox.sent(transaction, notification, receipt, moment)
            known = book.known(transaction)
            changes = decide((), _over(notification, receipt, known), known, self.policy, moment)
            outbox.enqueue(transaction, changes, self.instance, None, moment)
            dumb = "" if receipt.accepted else notification.channel
            for who, why in refused.items():
                self._tell_elsewhere(transaction, dumb, self._refused(notification, who, why), moment)
        _log.info("notification.delivered", channel=notification.channel, notification=notification.id)

    def _failed(self, notification: Notification, error: DeliveryError) -> None:
        reason = scrub(str(error))
        moment = self.clock()
        given_up = error.failure is Failure.PERMANENT or moment - notification.created_at > HORIZON
        with self.store.transaction() as transaction:
            if given_up:
                outbox.dead(transaction, notification, reason)
                self._tell_elsewhere(transaction, notification.channel, self._dead(notification, reason), moment)
            else:
                wait = _wait(notification, error)
                outbox.retry(transaction, notification, reason, moment + timedelta(seconds=wait))
        event = "notification.dead" if given_up else "notification.deferred"
        _log.warning(event, channel=notification.channel, notification=notification.id, reason=reason)

    def _forget_channels(self, transaction: Transaction) -> None:
        """What is open about a channel that was taken out of the configuration can never be mended: it is over."""
        known = book.known(transaction)
        gone = [
            Coverage(alert.kind, object=alert.object)
            for alert in known.alerts
            if alert.kind in {UNDELIVERED, REFUSED} and alert.object.partition(": ")[0] not in self.channels
        ]
        moment = self.clock()
        outbox.enqueue(transaction, decide((), gone, known, self.policy, moment), self.instance, None, moment)

    def _dead(self, notification: Notification, reason: str) -> Finding:
        return Finding(
            Identity(UNDELIVERED, self.instance, object=notification.channel),
            Severity.HIGH,
            f"channel {notification.channel} did not take a message: {reason}",
            remedy=f"mend channels.{notification.channel}, then: sereno alerts test {notification.channel}",
            evidence={"message": notification.message.title},
        )

    def _refused(self, notification: Notification, who: str, why: str) -> Finding:
        return Finding(
            Identity(REFUSED, self.instance, object=f"{notification.channel}: {who}"),
            Severity.HIGH,
            scrub(f"{who} is not reached by channel {notification.channel}, others are: {why}"),
            remedy=f"mend the address in channels.{notification.channel}, "
            f"then: sereno alerts test {notification.channel}",
            evidence={"message": notification.message.title},
        )

    def _tell_elsewhere(self, transaction: Transaction, dumb: str, finding: Finding, moment: datetime) -> None:
        """What a channel cannot say is itself an alert, on every other channel that takes high ones."""
        others = {
            severity: tuple(channel for channel in channels if channel != dumb)
            for severity, channels in self.policy.routes.items()
        }
        changes = decide([finding], (), book.known(transaction), Policy(others, self.policy.repeat), moment)
        outbox.enqueue(transaction, changes, self.instance, None, moment)

    def _due(self, since: datetime) -> int:
        with self.store.reading() as transaction:
            return outbox.due(transaction, since)


def _over(notification: Notification, receipt: Receipt, known: Known) -> list[Coverage]:
    """Return what a delivery ends: the channel works; and so does each recipient that is not refused any more.

    An address that was taken out of the configuration is not among those that refused either.
    """
    prefix = f"{notification.channel}: "
    still = {f"{prefix}{who}" for who in (*receipt.refused, *receipt.later)}
    spoken_for = {f"{prefix}{who}" for who in receipt.accepted}
    refused = {alert.object for alert in known.alerts if alert.kind == REFUSED and alert.object.startswith(prefix)}
    ended = (refused if not notification.recipients else refused & spoken_for) - still
    return [Coverage(UNDELIVERED, object=notification.channel), *(Coverage(REFUSED, object=one) for one in ended)]


def _wait(notification: Notification, error: DeliveryError) -> float:
    """Back off with full jitter; what the other side asked for is waited in full."""
    if error.retry_after_seconds is not None:
        return min(3600.0, error.retry_after_seconds) + random.uniform(0, 1)  # noqa: S311 - spreads load, guards nothing
    ladder = _URGENT if notification.message.severity is Severity.CRITICAL else _PATIENT
    return random.uniform(0.2, 1.0) * ladder[min(notification.attempts, len(ladder)) - 1]  # noqa: S311
