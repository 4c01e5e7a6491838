"""The alert processor: findings, acknowledgements and time become alerts and notifications."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from alerts import alert_store, outbox, silences
from alerts.alert import (
    NOTIFYING,
    Alert,
    Change,
    Message,
    Notification,
    Reason,
    State,
    UnrecordedCopy,
)
from alerts.alert_state import AlertState
from alerts.lifecycle import Acknowledgement, acknowledge, decide, review
from alerts.message import compose
from alerts.outbox import Wait
from alerts.pending_cancellation import cancel_pending
from alerts.policy import Policy, Silence
from domain.coverage import Coverage
from domain.finding import Finding, Severity
from store.store import Transaction


class Acknowledged(StrEnum):
    """The result of an acknowledgement."""

    DONE = "acknowledged"
    UNCHANGED = "already acknowledged"
    PENDING = "pending"
    NOT_OPEN = "not open"


@dataclass(frozen=True, slots=True)
class AlertProcessor:
    """Applies the policy within one transaction, at one instant, for one run if any."""

    transaction: Transaction
    policy: Policy
    now: datetime
    run: int | None = None
    unrecorded: Mapping[tuple[str, str], UnrecordedCopy] = field(default_factory=dict)
    """The copies sent while nothing could be recorded, by fingerprint and channel."""

    def process(
        self, findings: Sequence[Finding] = (), coverage: Collection[Coverage] = ()
    ) -> list[str]:
        """Open, update or resolve alerts; return the ids of the notifications enqueued."""
        fingerprints = {finding.identity.fingerprint() for finding in findings}
        known = alert_store.load_affected(self.transaction, fingerprints, coverage)
        return self._keep(decide(findings, coverage, self._quiet(known), self.policy, self.now))

    def review(self) -> list[str]:
        """Process repeats, escalation and ended suppressions; return the notification ids."""
        return self._keep(
            review(
                self._quiet(alert_store.load_due(self.transaction, self.now)), self.policy, self.now
            )
        )

    def acknowledge(self, number: int, acknowledgement: Acknowledgement) -> Acknowledged:
        """Acknowledge an open alert and cancel its waiting calls; the rule of every caller.

        An alert acknowledged by somebody else is taken over, if the acknowledgement says so; one
        acknowledged by the same person with the same limit, a pending and a resolved one are left
        as they are.
        """
        alert = alert_store.load_alert(self.transaction, number)
        if alert is None or alert.resolved_at is not None:
            return Acknowledged.NOT_OPEN
        if alert.state is State.PENDING:
            return Acknowledged.PENDING
        former = Acknowledgement(alert.acknowledged_by, alert.acknowledged_until)
        if alert.state is State.ACKNOWLEDGED and (
            not acknowledgement.takes_over or acknowledgement == former
        ):
            return Acknowledged.UNCHANGED
        known = alert_store.load_recipients(self.transaction, alert)
        change = acknowledge(alert, acknowledgement, known, self.policy)
        cancel_pending(self.transaction, self.policy, [change.alert], self.now)
        self._keep([change])
        return Acknowledged.DONE

    def silence(self, silence: Silence) -> int:
        """Store a silence and cancel matching waiting notifications; return its number."""
        number = silences.add(self.transaction, silence)
        cancel_pending(
            self.transaction, self.policy, alert_store.load_open(self.transaction), self.now
        )
        return number

    def _quiet(self, known: AlertState) -> AlertState:
        return replace(known, silences=silences.active(self.transaction, self.now))

    def _keep(self, changes: Iterable[Change]) -> list[str]:
        """Store every change and enqueue its notifications."""
        enqueued = []
        for change in changes:
            number = alert_store.save_change(self.transaction, change, self.run, self.now)
            self._record_copies(replace(change, alert=replace(change.alert, id=number)))
            if change.reason not in NOTIFYING:
                continue
            stored = replace(change, alert=replace(change.alert, id=number))
            for channel in change.channels:
                if (
                    self.policy.channel_names is not None
                    and channel not in self.policy.channel_names
                ):
                    continue
                if change.reason is Reason.REPEATED and self._waits(stored.alert, number, channel):
                    continue
                message = compose(stored, self.policy, channel, self.now, self.run)
                enqueued.append(self._enqueue(stored.alert.fingerprint, message, channel))
        return enqueued

    def _waits(self, alert: Alert, number: int, channel: str) -> bool:
        """Return whether a message waits for a channel that has accepted no unrecorded copy."""
        copy = self.unrecorded.get((alert.fingerprint, channel))
        accepted = copy is not None and copy.receipt is not None
        return not accepted and outbox.has_unsent(self.transaction, number, channel)

    def _record_copies(self, change: Change) -> None:
        """Record the copies that channels have accepted: they get the resolved message too.

        Those of the channels that the change notifies are recorded with its notifications.
        """
        for (fingerprint, channel), copy in self.unrecorded.items():
            known = fingerprint != change.alert.fingerprint or channel in self._notified(change)
            if known or copy.receipt is None:
                continue
            message = compose(change, self.policy, channel, self.now, self.run)
            self._enqueue(fingerprint, message, channel)

    @staticmethod
    def _notified(change: Change) -> tuple[str, ...]:
        return change.channels if change.reason in NOTIFYING else ()

    def _enqueue(self, fingerprint: str, message: Message, channel: str) -> str:
        """Enqueue a notification; one that was sent unrecorded keeps its id and its receipt."""
        copy = self.unrecorded.get((fingerprint, channel))
        wait = Wait(self._wait(message, channel), self.run, copy.id if copy is not None else "")
        number = outbox.enqueue(self.transaction, message, channel, self.now, wait)
        if copy is not None and copy.receipt is not None:
            sent = Notification(number, channel, message, self.now, members=(number,))
            outbox.mark_sent(self.transaction, sent, copy.receipt, copy.sent_at)
        return number

    def _wait(self, message: Message, channel: str) -> timedelta:
        """Return the grouping delay of a message; critical ones have none."""
        policy = self.policy
        if channel not in policy.grouping_channels or message.severity is Severity.CRITICAL:
            return timedelta()
        last = (
            None
            if self.run is None
            else outbox.last_sent_of_run(self.transaction, self.run, channel)
        )
        if last is None:
            return policy.group_wait
        return max(policy.group_wait, last + policy.group_interval - self.now)
