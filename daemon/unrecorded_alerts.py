"""Critical alerts sent from memory while the state file cannot be used, marked as unrecorded."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from alerts.alert import UNRECORDED, Message, Notification, Thread, UnrecordedCopy
from alerts.alert_state import AlertState
from alerts.channels.channel import Channel, DeliveryError
from alerts.lifecycle import decide
from alerts.message import compose
from alerts.policy import Policy, Silence
from daemon.context import Context
from domain.finding import Finding
from domain.redaction import redact

REPEAT_SECONDS = timedelta(hours=1).total_seconds()
DELIVERY_SECONDS = 10.0
MOST_FINDINGS = 100
MARK = "not recorded: the state file cannot be used"

_log = structlog.get_logger("unrecorded")

NO_THREAD = Thread("", "", open=False)
CopyKey = tuple[str, str]
"""The fingerprint and the channel of a copy."""


def unrecorded_messages(
    finding: Finding, policy: Policy, moment: datetime, silenced: Sequence[Silence] = ()
) -> Iterator[tuple[str, Message]]:
    """Yield each channel of a finding with the message, decided without any stored state.

    Thresholds are ignored: nothing counts how often it was found.
    """
    at_once = replace(policy, thresholds=())
    known = AlertState((), silences=tuple(silenced))
    (change,) = decide([finding], (), known, at_once, moment)
    for channel in change.channels:
        message = compose(change, policy, channel, moment)
        yield channel, replace(message, details={UNRECORDED: MARK, **message.details})


@dataclass(frozen=True, slots=True)
class SentAlerts:
    """The findings sent since the last recorded ones, and their copies."""

    findings: Sequence[Finding]
    copies: Mapping[CopyKey, UnrecordedCopy]


class UnrecordedAlerts:
    """Sends each finding once per hour and channel; a failed delivery is tried at the next call."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._findings: dict[str, Finding] = {}
        self._copies: dict[CopyKey, UnrecordedCopy] = {}
        self._threads: Mapping[CopyKey, Thread] = {}
        self._silences: Sequence[Silence] = ()
        self._open = True
        self._sent: dict[CopyKey, float] = {}
        self._deliveries: list[threading.Thread] = []
        self._guard = threading.Lock()

    def remember(self, threads: Mapping[CopyKey, Thread], silences: Sequence[Silence]) -> None:
        """Remember the silences, and what channels have about alerts.

        Further messages go to the same threads. Open alerts are not sent again in the first hour
        of an outage, acknowledged ones not at all.
        """
        with self._guard:
            self._threads, self._silences = threads, silences

    def open(self) -> None:
        """Send findings from now on."""
        with self._guard:
            self._open = True

    def send(self, context: Context, finding: Finding) -> None:
        """Send a finding to its channels in threads of their own."""
        fingerprint = finding.identity.fingerprint()
        with self._guard:
            full = fingerprint not in self._findings and len(self._findings) >= MOST_FINDINGS
            if full or not self._open:
                return
            self._findings[fingerprint] = finding
            silenced = self._silences
        now = context.clock()
        for name, message in unrecorded_messages(finding, context.policy, now, silenced):
            key = (fingerprint, name)
            with self._guard:
                tried = key in self._copies
                copy = self._begin_copy(key, context.clock())
                thread = self._threads.get(key, NO_THREAD)
            if copy is None:
                continue
            notification = Notification(
                copy.id,
                name,
                message,
                context.clock(),
                attempts=1,
                thread=thread.remote,
                members=(copy.id,),
                again=tried,
            )
            delivery = threading.Thread(
                target=self._deliver,
                args=(context.channels, notification, key),
                name=f"unrecorded {name}",
                daemon=True,
            )
            delivery.start()
            with self._guard:
                alive = [one for one in self._deliveries if one.is_alive()]
                self._deliveries = [*alive, delivery]

    def _begin_copy(self, key: CopyKey, moment: datetime) -> UnrecordedCopy | None:
        """Return the copy to send now; None if the channel knows the alert."""
        if self._threads.get(key, NO_THREAD).acknowledged:
            return None
        if self._threads.get(key, NO_THREAD).open and key not in self._sent:
            self._sent[key] = self._clock()
            return None
        last = self._sent.get(key)
        if last is not None and self._clock() - last < REPEAT_SECONDS:
            return None
        self._sent[key] = self._clock()
        return self._copies.setdefault(key, UnrecordedCopy(uuid.uuid4().hex, moment))

    def pending(self) -> bool:
        """Return whether something was sent that is not recorded yet."""
        with self._guard:
            return bool(self._findings)

    def sent(self) -> SentAlerts:
        """Return the sent alerts, to be recorded now that the state file can be used again.

        Nothing is sent from now on, until `open`. Deliveries in progress are waited for: one that
        is not known to have arrived is repeated.
        """
        deadline = self._clock() + DELIVERY_SECONDS
        with self._guard:
            self._open = False
            deliveries = list(self._deliveries)
        for delivery in deliveries:
            delivery.join(max(0.0, deadline - self._clock()))
        with self._guard:
            return SentAlerts(list(self._findings.values()), dict(self._copies))

    def clear(self) -> None:
        """Forget the sent alerts: they have been recorded."""
        with self._guard:
            self._findings.clear()
            self._copies.clear()
            self._sent.clear()

    def _deliver(
        self, channels: Mapping[str, Channel], notification: Notification, key: CopyKey
    ) -> None:
        try:
            receipt = channels[notification.channel].deliver(notification)
        except DeliveryError as error:
            with self._guard:
                self._sent[key] = float("-inf")
            _log.error(
                "notification.deferred", channel=notification.channel, reason=redact(str(error))
            )
            return
        with self._guard:
            copy = self._copies.get(key)
            # of several recipients some may not have accepted it: then it is sent again
            if copy is not None and not receipt.later:
                self._copies[key] = replace(copy, receipt=receipt)
        _log.warning(
            "notification.unrecorded",
            channel=notification.channel,
            notification=notification.id,
        )
