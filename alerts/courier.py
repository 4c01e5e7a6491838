"""The courier: delivers notifications at least once, one worker per channel."""

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
from alerts.lease import LeaseRequest, lease, next_due, updated_message
from alerts.pending_cancellation import cancel_pending_of
from alerts.policy import Policy
from alerts.rate_limit import RateLimit
from domain.finding import Severity
from domain.redaction import redact
from store.store import Store, StoreError

HORIZON = timedelta(hours=72)
IDLE_SECONDS = 2.0
"""The interval at which commits of other processes are noticed."""
LOOK_SECONDS = 30.0
LAST_SECONDS = 5.0
BROKEN_STORE_SECONDS = 5.0
_URGENT = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0)
_NORMAL = (2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0)

_log = structlog.get_logger("courier")


def now() -> datetime:
    """Return the current time."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Courier:
    """The outbox's store, the channels, and the policy for failing channels."""

    store: Store
    channels: Mapping[str, Channel]
    policy: Policy
    clock: Callable[[], datetime] = now
    ignore_grouping: bool = False
    """Send grouped messages at once."""
    rate_limits: dict[str, RateLimit] = field(default_factory=dict, repr=False)
    """The measured limit of each channel; it outlives a courier."""
    must_wait: Callable[[], bool] = lambda: False
    """Whether alerts were sent that the outbox does not know yet: its workers deliver nothing."""
    unstored: dict[str, Callable[[], None]] = field(default_factory=dict, repr=False)
    """By channel, what records an accepted message whose receipt could not be stored."""

    def work(
        self, name: str, stop: threading.Event, beat: Callable[[str], object] = lambda _: None
    ) -> None:
        """Deliver for one channel until stopped. A full disk is waited out."""
        seen_times, until = -1, 0.0
        while not stop.is_set():
            beat(f"courier {name}")
            try:
                if self.must_wait():
                    self._refresh(name)
                    stop.wait(IDLE_SECONDS)
                    continue
                self._store_receipt(name)
                pause = self._rate_limit(name).pause()
                if pause > 0:
                    stop.wait(min(pause, IDLE_SECONDS))
                    continue
                self._refresh(name)
                before = self.store.wakeup.times
                # the store has changed, or the next message is due
                if before != seen_times or time.monotonic() >= until:
                    wait = self._seconds_to_wait(name)
                    if wait <= 0 and self.deliver_one(name):
                        continue
                    seen_times, until = before, time.monotonic() + wait
                if not stop.is_set():
                    self.store.wakeup.wait(seen_times, max(0.0, until - time.monotonic()))
            except StoreError as error:
                _log.error("courier.store_failed", channel=name, error=str(error))
                stop.wait(BROKEN_STORE_SECONDS)
            except Exception:  # noqa: BLE001 - a row that cannot be read must not end the channel
                _log.exception("courier.crashed", channel=name)
                stop.wait(BROKEN_STORE_SECONDS)

    def _seconds_to_wait(self, name: str) -> float:
        """Return the seconds until the channel next has something to do."""
        with self.store.reading() as transaction:
            due = next_due(transaction, name)
        longest = min(LOOK_SECONDS, self.channels[name].traits.refresh_seconds or LOOK_SECONDS)
        if due is None:
            return longest
        return min(longest, (due - self.clock()).total_seconds())

    def _listen(self, stop: threading.Event) -> None:
        """Wake the workers when another process has committed."""
        seen: object = None
        while not stop.wait(IDLE_SECONDS):
            with contextlib.suppress(StoreError):  # the workers log it
                before, seen = seen, self.store.changed
                if before != seen:
                    self.store.wakeup.ring()

    def _rate_limit(self, name: str) -> RateLimit:
        return self.rate_limits.setdefault(
            name, RateLimit(self.channels[name].traits.interval_seconds)
        )

    def _refresh(self, name: str) -> None:
        """Send open alerts again to a channel that needs it; a failed refresh is retried soon."""
        channel, every = self.channels[name], self.channels[name].traits.refresh_seconds
        if not isinstance(channel, Refreshing) or not self._rate_limit(name).refreshes(every):
            return
        with self.store.reading() as transaction:
            alerts = alert_store.load_notified_on(transaction, name)
        try:
            if alerts:
                channel.refresh([updated_message(alert, self.policy, name) for alert in alerts])
        except DeliveryError as error:
            _log.warning("channel.not_refreshed", channel=name, reason=redact(str(error)))

    def take_over(self) -> None:
        """Release the leases of a former owner of the outbox. Not called at a reload."""
        with self.store.transaction() as transaction:
            outbox.expire_leases(transaction)

    def _close_removed_channels(self) -> None:
        with self.store.transaction() as transaction:
            channel_health.report_removed_channels(
                transaction, self.policy, self.channels, self.clock()
            )

    def start(
        self, stop: threading.Event, beat: Callable[[str], object] = lambda _: None
    ) -> list[threading.Thread]:
        """Start a worker per channel and the watcher of other processes; each reports by `beat`."""
        self._close_removed_channels()
        listener = threading.Thread(target=self._listen, args=(stop,), name="news", daemon=True)
        listener.start()
        return [listener, *self._workers(lambda name: self.work(name, stop, beat))]

    def drain(self, seconds: float) -> int:
        """Try once to deliver everything due within `seconds`; return the number still waiting.

        Needs the service lock. Grouping is ignored.
        """
        self.take_over()
        self._close_removed_channels()
        deadline = time.monotonic() + seconds
        ungrouped = replace(self, ignore_grouping=True)
        workers = self._workers(lambda name: ungrouped.work_off(name, deadline))
        for worker in workers:
            worker.join(max(0.0, deadline - time.monotonic()) + LAST_SECONDS)
        with self.store.reading() as transaction:
            return outbox.count_waiting(transaction)

    def work_off(self, name: str, deadline: float) -> None:
        """Deliver everything due for a channel until the deadline."""
        limit = self._rate_limit(name)
        try:
            while time.monotonic() + limit.pause() < deadline:
                time.sleep(limit.pause())
                if not self.deliver_one(name):
                    return
        except StoreError as error:
            _log.error("courier.store_failed", channel=name, error=str(error))

    def deliver_one(self, name: str) -> bool:
        """Deliver the most urgent message of a channel with its group.

        Return whether there was one.
        """
        traits = self.channels[name].traits
        request = LeaseRequest(name, traits.groups, traits.edits, self.ignore_grouping)
        with self.store.transaction() as transaction:
            notification = lease(transaction, request, self.policy, self.clock())
        if notification is None:
            return False
        try:
            receipt = self.channels[name].deliver(notification)
        except DeliveryError as error:
            self._failed(notification, error)
        except Exception as error:  # noqa: BLE001 - one poisoned message must not end the channel
            _log.exception("delivery.crashed", channel=name, notification=notification.id)
            self._failed(notification, DeliveryError(Failure.AMBIGUOUS, type(error).__name__))
        else:
            self._rate_limit(name).delivered()
            moment = self.clock()
            self.unstored[name] = lambda: self._delivered(notification, receipt, moment)
            self._store_receipt(name)
        return True

    def _store_receipt(self, name: str) -> None:
        """Record the accepted message of a channel; raises StoreError, and is repeated then.

        After any other error the message is delivered again, when its lease ends.
        """
        record = self.unstored.pop(name, None)
        if record is None:
            return
        try:
            record()
        except StoreError:
            self.unstored[name] = record
            raise

    def _delivered(self, notification: Notification, receipt: Receipt, moment: datetime) -> None:
        with self.store.transaction() as transaction:
            if receipt.later:
                outbox.mark_partly_sent(transaction, notification, receipt)
                reason = redact("; ".join(f"{who}: {why}" for who, why in receipt.later.items()))
                wait = _wait(notification, DeliveryError(Failure.TRANSIENT, reason))
                outbox.retry(
                    transaction, notification, reason, moment + timedelta(seconds=wait), same=True
                )
                given_up = outbox.load_expired(transaction, notification, moment - HORIZON)
                for one in given_up:
                    outbox.mark_sent(transaction, one, receipt, moment)
                if given_up:
                    receipt = replace(receipt, refused={**receipt.refused, **receipt.later})
            else:
                outbox.mark_sent(transaction, notification, receipt, moment)
            channel_health.report_delivered(transaction, self.policy, notification, receipt, moment)
        _log.info(
            "notification.delivered", channel=notification.channel, notification=notification.id
        )

    def _failed(self, notification: Notification, error: DeliveryError) -> None:
        reason = redact(str(error))
        moment = self.clock()
        wait = _wait(notification, error)
        self._rate_limit(notification.channel).failed(error, wait)
        refused = error.failure is Failure.PERMANENT
        with self.store.transaction() as transaction:
            if refused and len(notification.members) > 1:
                lost = []
                outbox.split(transaction, notification, reason)
            else:
                same = error.failure is Failure.AMBIGUOUS or notification.again
                outbox.retry(
                    transaction, notification, reason, moment + timedelta(seconds=wait), same=same
                )
                cancel_pending_of(transaction, self.policy, notification, moment)
                if error.failure is Failure.CHANNEL:
                    channel_health.report_refusing(
                        transaction, self.policy, notification.channel, reason, moment
                    )
                lost = (
                    [notification]
                    if refused
                    else outbox.load_expired(transaction, notification, moment - HORIZON)
                )
            for one in lost:
                channel_health.report_dead(transaction, self.policy, one, reason, moment)
        event = "notification.deferred"
        if lost:
            event = "notification.dead"
        _log.warning(
            event, channel=notification.channel, notification=notification.id, reason=reason
        )

    def _workers(self, work: Callable[[str], None]) -> list[threading.Thread]:
        workers = [
            threading.Thread(target=work, args=(name,), name=f"courier {name}", daemon=True)
            for name in self.channels
        ]
        for worker in workers:
            worker.start()
        return workers


def _wait(notification: Notification, error: DeliveryError) -> float:
    """Return the back-off with full jitter; a requested wait is honoured in full."""
    if error.retry_after_seconds is not None:
        return min(3600.0, max(1.0, error.retry_after_seconds)) + random.uniform(0, 1)  # noqa: S311 - spreads load, guards nothing
    delays = _URGENT if notification.message.severity is Severity.CRITICAL else _NORMAL
    return random.uniform(0.2, 1.0) * delays[min(notification.attempts, len(delays)) - 1]  # noqa: S311
