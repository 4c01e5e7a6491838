"""Carries what the outbox owes. One worker a channel: a dead one delays no other. At least once, always the same id."""

import contextlib
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import structlog

from alerts import alert_store, channel_health, outbox
from alerts.alert import Notification, Receipt
from alerts.channels.channel import Channel, DeliveryError, Failure, Refreshing
from alerts.lease import Claimant, as_it_is, claim, next_due
from alerts.pending_cancellation import take_back_of
from alerts.policy import Policy
from alerts.rate_limit import Rhythm
from domain.finding import Severity
from domain.redaction import scrub
from store.store import Store, StoreError

HORIZON = timedelta(hours=72)
IDLE_SECONDS = 2.0
"""What this process writes is heard at once; what another one does, after so long."""
LOOK_SECONDS = 30.0
LAST_SECONDS = 5.0
BROKEN_STORE_SECONDS = 5.0
_URGENT = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0)
_PATIENT = (2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0)

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
    clock: Callable[[], datetime] = now
    hurried: bool = False
    """What waits for companions goes out now."""
    rhythms: dict[str, Rhythm] = field(default_factory=dict, repr=False)
    """What each channel has shown of its limits; it outlives a courier."""

    def work(self, name: str, stop: threading.Event, beat: Callable[[str], object] = lambda _: None) -> None:
        """Deliver for one channel until told to stop (and rung for). A full disk is waited out, not died of."""
        heard, until = -1, 0.0
        while not stop.is_set():
            beat(f"courier {name}")
            try:
                pause = self._rhythm(name).pause()
                if pause > 0:
                    stop.wait(min(pause, IDLE_SECONDS))
                    continue
                self._refresh(name)
                before = self.store.bell.times
                if before != heard or time.monotonic() >= until:  # somebody has written since we looked, or it is time
                    wait = self._patience(name)
                    if wait <= 0 and self.deliver_one(name):
                        continue
                    heard, until = before, time.monotonic() + wait
                if not stop.is_set():
                    self.store.bell.wait(heard, max(0.0, until - time.monotonic()))
            except StoreError as error:
                _log.error("courier.store_failed", channel=name, error=str(error))
                stop.wait(BROKEN_STORE_SECONDS)
            except Exception:  # noqa: BLE001 - a row that cannot be read must not end the channel
                _log.exception("courier.broke", channel=name)
                stop.wait(BROKEN_STORE_SECONDS)

    def _patience(self, name: str) -> float:
        """Return how long there is nothing to do, if nobody writes: a file's time may be too coarse to tell."""
        with self.store.reading() as transaction:
            due = next_due(transaction, name)
        longest = min(LOOK_SECONDS, self.channels[name].traits.refresh_seconds or LOOK_SECONDS)
        return longest if due is None else min(longest, (due - self.clock()).total_seconds())

    def _listen(self, stop: threading.Event) -> None:
        """Ring when another process has written: one looks at the file for all workers."""
        seen = (0, 0)
        while not stop.wait(IDLE_SECONDS):
            with contextlib.suppress(StoreError):  # the workers say so
                before, seen = seen, self.store.changed
                if before != seen:
                    self.store.bell.ring()

    def _rhythm(self, name: str) -> Rhythm:
        return self.rhythms.setdefault(name, Rhythm(self.channels[name].traits.interval_seconds))

    def _refresh(self, name: str) -> None:
        """Say again what is still so, where that has to be said; what is lost of it is said soon again."""
        channel, every = self.channels[name], self.channels[name].traits.refresh_seconds
        if not isinstance(channel, Refreshing) or not self._rhythm(name).refreshes(every):
            return
        with self.store.reading() as transaction:
            alerts = alert_store.told_on(transaction, name)
        try:
            if alerts:
                channel.refresh([as_it_is(alert, self.policy) for alert in alerts])
        except DeliveryError as error:
            _log.warning("channel.not_refreshed", channel=name, reason=scrub(str(error)))

    def take_over(self) -> None:
        """Take back what a former owner of the outbox had claimed. Not at a reload: that one is we, still at it."""
        with self.store.transaction() as transaction:
            outbox.expire_leases(transaction)

    def _settle_the_gone(self) -> None:
        with self.store.transaction() as transaction:
            channel_health.gone(transaction, self.policy, self.channels, self.clock())

    def start(self, stop: threading.Event, beat: Callable[[str], object] = lambda _: None) -> list[threading.Thread]:
        """Begin one worker for each channel, which says by `beat` that it goes on; and one who hears of news."""
        self._settle_the_gone()
        listener = threading.Thread(target=self._listen, args=(stop,), name="news", daemon=True)
        listener.start()
        return [listener, *self._workers(lambda name: self.work(name, stop, beat))]

    def drain(self, seconds: float) -> int:
        """Try once to deliver all that is due, so long at the most; return how many messages wait.

        Needs the service's lock. What would wait for companions goes out at once.
        """
        self.take_over()
        self._settle_the_gone()
        deadline = time.monotonic() + seconds
        hurried = replace(self, hurried=True)
        workers = self._workers(lambda name: hurried.work_off(name, deadline))
        for worker in workers:
            worker.join(max(0.0, deadline - time.monotonic()) + LAST_SECONDS)
        with self.store.reading() as transaction:
            return outbox.left(transaction)

    def work_off(self, name: str, deadline: float) -> None:
        """Deliver what a channel is owed, until nothing is due, or until then; one that asks to wait longer is left."""
        rhythm = self._rhythm(name)
        try:
            while time.monotonic() + rhythm.pause() < deadline:
                time.sleep(rhythm.pause())
                if not self.deliver_one(name):
                    return
        except StoreError as error:
            _log.error("courier.store_failed", channel=name, error=str(error))

    def deliver_one(self, name: str) -> bool:
        """Deliver the channel's most urgent message, with what goes with it; say whether there was one."""
        traits = self.channels[name].traits
        claimant = Claimant(name, traits.bundles, traits.edits, self.hurried)
        with self.store.transaction() as transaction:
            notification = claim(transaction, claimant, self.policy, self.clock())
        if notification is None:
            return False
        try:
            receipt = self.channels[name].deliver(notification)
        except DeliveryError as error:
            self._failed(notification, error)
        except Exception as error:  # noqa: BLE001 - one poisoned message must not end the channel
            _log.exception("delivery.broke", channel=name, notification=notification.id)
            self._failed(notification, DeliveryError(Failure.AMBIGUOUS, type(error).__name__))
        else:
            self._delivered(notification, receipt)
        return True

    def _delivered(self, notification: Notification, receipt: Receipt) -> None:
        moment = self.clock()
        self._rhythm(notification.channel).delivered()
        with self.store.transaction() as transaction:
            if receipt.later:
                outbox.partly(transaction, notification, receipt)
                reason = scrub("; ".join(f"{who}: {why}" for who, why in receipt.later.items()))
                wait = _wait(notification, DeliveryError(Failure.TRANSIENT, reason))
                outbox.retry(transaction, notification, reason, moment + timedelta(seconds=wait), same=True)
                given_up = outbox.old(transaction, notification, moment - HORIZON)
                for one in given_up:
                    outbox.sent(transaction, one, receipt, moment)
                if given_up:
                    receipt = replace(receipt, refused={**receipt.refused, **receipt.later})
            else:
                outbox.sent(transaction, notification, receipt, moment)
            channel_health.delivered(transaction, self.policy, notification, receipt, moment)
        _log.info("notification.delivered", channel=notification.channel, notification=notification.id)

    def _failed(self, notification: Notification, error: DeliveryError) -> None:
        reason = scrub(str(error))
        moment = self.clock()
        wait = _wait(notification, error)
        self._rhythm(notification.channel).failed(error, wait)
        refused = error.failure is Failure.PERMANENT
        with self.store.transaction() as transaction:
            if refused and len(notification.members) > 1:
                lost = []
                outbox.alone(transaction, notification, reason)
            else:
                same = error.failure is Failure.AMBIGUOUS or notification.again
                outbox.retry(transaction, notification, reason, moment + timedelta(seconds=wait), same=same)
                take_back_of(transaction, self.policy, notification, moment)
                lost = [notification] if refused else outbox.old(transaction, notification, moment - HORIZON)
            for one in lost:
                channel_health.given_up(transaction, self.policy, one, reason, moment)
        event = "notification.dead" if lost else "notification.deferred"
        _log.warning(event, channel=notification.channel, notification=notification.id, reason=reason)

    def _workers(self, work: Callable[[str], None]) -> list[threading.Thread]:
        workers = [
            threading.Thread(target=work, args=(name,), name=f"courier {name}", daemon=True) for name in self.channels
        ]
        for worker in workers:
            worker.start()
        return workers


def _wait(notification: Notification, error: DeliveryError) -> float:
    """Back off with full jitter; what the other side asked for is waited in full."""
    if error.retry_after_seconds is not None:
        return min(3600.0, max(1.0, error.retry_after_seconds)) + random.uniform(0, 1)  # noqa: S311 - spreads load, guards nothing
    ladder = _URGENT if notification.message.severity is Severity.CRITICAL else _PATIENT
    return random.uniform(0.2, 1.0) * ladder[min(notification.attempts, len(ladder)) - 1]  # noqa: S311
