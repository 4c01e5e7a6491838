"""Tells: findings, what is open and what time it is become alerts, and messages that are owed, in one transaction."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from alerts import alert_store, outbox, silences
from alerts.alert import TOLD, Alert, Change, Message, Reason
from alerts.lifecycle import Acknowledgement, Known, acknowledge, decide, review
from alerts.message import compose
from alerts.outbox import Wait
from alerts.pending_cancellation import take_back
from alerts.policy import Policy, Silence
from domain.coverage import Coverage
from domain.finding import Finding, Severity
from store.store import Transaction


@dataclass(frozen=True, slots=True)
class Teller:
    """By which rules, in whose transaction, at what instant; and of which run, if it is one that tells."""

    transaction: Transaction
    policy: Policy
    now: datetime
    run: int | None = None

    def tell(self, findings: Sequence[Finding] = (), coverage: Collection[Coverage] = ()) -> list[str]:
        """Open, repeat or resolve alerts; return the ids of the messages owed."""
        fingerprints = {finding.identity.fingerprint() for finding in findings}
        known = alert_store.concerned(self.transaction, fingerprints, coverage)
        return self._keep(decide(findings, coverage, self._quiet(known), self.policy, self.now))

    def tell_again(self) -> list[str]:
        """Tell what is owed though nobody looked; return the ids of the messages owed."""
        return self._keep(review(self._quiet(alert_store.reviewed(self.transaction, self.now)), self.policy, self.now))

    def take(self, alert: Alert, acknowledgement: Acknowledgement) -> None:
        """Acknowledge an open alert; what would call somebody once more, and waits, is taken back."""
        known = alert_store.known_of(self.transaction, alert)
        change = acknowledge(alert, acknowledgement, known, self.policy)
        take_back(self.transaction, self.policy, [change.alert], self.now)
        self._keep([change])

    def hush(self, silence: Silence) -> int:
        """Keep a silence, and take back what waits and is meant by it; return its number."""
        number = silences.add(self.transaction, silence)
        take_back(self.transaction, self.policy, alert_store.open_alerts(self.transaction), self.now)
        return number

    def _quiet(self, known: Known) -> Known:
        return replace(known, silences=silences.active(self.transaction, self.now))

    def _keep(self, changes: Iterable[Change]) -> list[str]:
        """Record every change and owe its messages."""
        owed = []
        for change in changes:
            number = alert_store.record(self.transaction, change, self.run, self.now)
            if change.reason not in TOLD:
                continue
            told = replace(change, alert=replace(change.alert, id=number))
            message = compose(told, self.policy.instance, self.now, hide_addresses=self.policy.hide_addresses)
            for channel in change.channels:
                if self.policy.ways is not None and channel not in self.policy.ways:
                    continue
                if change.reason is Reason.REPEATED and outbox.unsent(self.transaction, number, channel):
                    continue
                wait = Wait(self._wait(message, channel), self.run)
                owed.append(outbox.owe(self.transaction, message, channel, self.now, wait))
        return owed

    def _wait(self, message: Message, channel: str) -> timedelta:
        """Return how long a message waits for others to go with it: never, if it is critical."""
        policy = self.policy
        if channel not in policy.bundling or message.severity is Severity.CRITICAL:
            return timedelta()
        last = None if self.run is None else outbox.last_of_run(self.transaction, self.run, channel)
        return policy.group_wait if last is None else max(policy.group_wait, last + policy.group_interval - self.now)
