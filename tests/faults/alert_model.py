"""A model of alerting with a simulated clock, failing channels and process kills.

Store, policy, outbox and courier are the production code; a channel accepts messages, refuses them,
or accepts them and loses its response. The model asserts the invariants after each event and at the
end.
"""

from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from alerts import alert_store, channel_health, outbox, silences
from alerts.alert import Reason, Receipt, State
from alerts.channels.channel import DeliveryError, Failure, Traits
from alerts.courier import Courier
from alerts.lifecycle import Acknowledgement
from alerts.policy import Policy, Silence
from alerts.processor import AlertProcessor
from alerts.rules import EscalationStep, Matcher, Threshold
from domain.coverage import Coverage
from domain.finding import Finding, Identity, Severity
from domain.kinds import CHANNEL_UNDELIVERED, DATABASE_UNREACHABLE
from store.opening import open_store

START = datetime(2026, 3, 1, 2, tzinfo=UTC)
ROUTES = {
    Severity.WARNING: ("chat",),
    Severity.HIGH: ("chat", "mail", "ticket"),
    Severity.CRITICAL: ("chat", "mail", "ticket"),
}
CHANNELS = {"chat": Traits(groups=True, edits=True, wants_acknowledgements=True), "mail": Traits(groups=True), "ticket": Traits(wants_acknowledgements=True), "second": Traits()}  # fmt: skip
POLICIES = (
    Policy(ROUTES, instance="test", grouping_channels=frozenset({"chat", "mail"}), acknowledging_channels=frozenset({"chat", "ticket"}), editing_channels=frozenset({"chat"}), group_wait=timedelta(seconds=15), escalation_steps=(EscalationStep(after=timedelta(minutes=30), channels=("second",)),), fallback=("second",)),
    Policy({**ROUTES, Severity.HIGH: ("mail",)}, instance="test", grouping_channels=frozenset({"chat"}), acknowledging_channels=frozenset({"chat"})),
    Policy(ROUTES, instance="test", thresholds=(Threshold(object="b", failures=2, passes=2),), group_interval=timedelta(minutes=5)),
)  # fmt: skip
FAILURES = {"refuse": Failure.TRANSIENT, "reject": Failure.PERMANENT, "throttle": Failure.THROTTLED, "ambiguous": Failure.AMBIGUOUS}  # fmt: skip
RECIPIENTS = {"mail": ("ana", "ben", "eva")}
SELECT_DEAD = "SELECT * FROM notification WHERE state = 'dead'"
SENT_DESPITE_SILENCE = {Reason.RESOLVED, Reason.ACKNOWLEDGED, Reason.CHANGED, Reason.CHANNEL_TEST}


class ProcessKilledError(BaseException):
    """Stands for SIGKILL of the service."""


@dataclass
class FakeChannel:
    """A channel that records accepted messages; `behaviour` decides the next delivery."""

    traits: Traits
    recipients: tuple = ("",)
    behaviour: str = "accept"
    accepted: list = field(default_factory=list)
    accepted_by: list = field(default_factory=list)
    split: set = field(default_factory=set)
    """Members of refused groups, which are retried one by one under new ids."""

    def deliver(self, notification):
        if self.behaviour == "kill before":
            raise ProcessKilledError
        if self.behaviour == "reject" and len(notification.members) > 1:
            self.split |= set(notification.members)
        if self.behaviour in FAILURES:
            raise DeliveryError(FAILURES[self.behaviour], self.behaviour)
        expected = notification.recipients or self.recipients
        first = expected[:1] if self.behaviour == "accept one recipient" else expected
        self.accepted.append(notification)
        self.accepted_by += [(recipient, notification) for recipient in first]
        if first != expected:
            return Receipt(
                "partly accepted", accepted=first, later=dict.fromkeys(expected[1:], "full")
            )
        if self.behaviour == "accept without response":
            raise DeliveryError(Failure.AMBIGUOUS, "no answer")
        if self.behaviour == "kill after":
            raise ProcessKilledError
        return Receipt("accepted", remote=f"r{len(self.accepted)}", accepted=expected)


def resolved_by_alert(notification):
    """Return for each alert in a message whether the message resolves it."""
    message = notification.message
    if message.lines:
        return {line.alert: line.over for line in message.lines}
    return {message.alert: message.over}


class AlertModel:
    """The state of the model; each event of a sequence is a method."""

    def __init__(self, path, store=None):
        self.now = START
        self.store = store or open_store(path)
        self.channels = {
            name: FakeChannel(traits, RECIPIENTS.get(name, ("",)))
            for name, traits in CHANNELS.items()
        }
        self.configured = dict(self.channels)
        self.policy = POLICIES[0]
        self.possible_duplicates = 0
        self.removed = set()

    def courier(self):
        return Courier(self.store, self.configured, self.policy, lambda: self.now)

    def processor(self, transaction):
        return AlertProcessor(transaction, self.policy, self.now)

    def process(self, found, covered):
        findings = [Finding(Identity("orphans", "test", database="main", object=name), severity, f"{name} is {severity}") for name, severity in found]  # fmt: skip
        self._transact(
            lambda processor: processor.process(
                findings, [Coverage("orphans", "main")] if covered else []
            )
        )

    def set_reachable(self, reachable):
        finding = Finding(
            Identity(DATABASE_UNREACHABLE.name, "test", database="main"),
            Severity.CRITICAL,
            "no answer",
        )
        self._transact(
            lambda processor: processor.process(
                [] if reachable else [finding],
                [Coverage(DATABASE_UNREACHABLE.name, "main")] if reachable else [],
            )
        )

    def review(self):
        self._transact(lambda processor: processor.review())
        self._transact(
            lambda processor: channel_health.check_channels(
                processor.transaction, self.policy, self.now
            )
        )

    def acknowledge(self, number, minutes):
        with self.store.transaction() as transaction:
            alerts = [
                one for one in alert_store.load_open(transaction) if one.state is not State.PENDING
            ]
            if alerts:
                until = self.now + timedelta(minutes=minutes) if minutes else None
                self.processor(transaction).acknowledge(
                    alerts[number % len(alerts)].id, Acknowledgement("ana", until)
                )

    def silence(self, name, minutes):
        silence = Silence(
            Matcher(object=name),
            "ana",
            "moving house",
            self.now,
            self.now + timedelta(minutes=minutes),
        )
        self._transact(lambda processor: processor.silence(silence))

    def advance_clock(self, minutes):
        self.now += timedelta(minutes=minutes)

    def configure(self, number, removed):
        """Reload with another policy, optionally without one channel."""
        self.configured = {
            name: channel for name, channel in self.channels.items() if name != removed
        }
        self.removed |= {removed} - {""}
        policy = POLICIES[number]
        routes = {
            severity: tuple(name for name in names if name != removed)
            for severity, names in policy.routes.items()
        }
        self.policy = replace(policy, routes=routes, channel_names=frozenset(self.configured))
        with self._checking_notifications():
            self.courier().drain(0)

    def deliver(self, name, behaviour):
        if name not in self.configured:
            return
        channel = self.channels[name]
        channel.behaviour = behaviour
        before = len(channel.accepted)
        with self._checking_notifications():
            try:
                self.courier().deliver_one(name)
            except ProcessKilledError:
                with self.store.transaction() as transaction:  # as at service start
                    outbox.expire_leases(transaction)
                self.possible_duplicates += 1
        self.possible_duplicates += (
            behaviour == "accept without response" and len(channel.accepted) > before
        )
        channel.behaviour = "accept"
        for notification in channel.accepted[before:]:
            self._check_delivered(notification)

    def _transact(self, action):
        with self._checking_notifications(), self.store.transaction() as transaction:
            action(self.processor(transaction))

    @contextmanager
    def _checking_notifications(self):
        """Check the notifications that the body adds to the outbox or gives up."""
        with self.store.reading() as transaction:
            last = transaction.row("SELECT coalesce(max(rowid), 0) AS n FROM notification")["n"]
            dead = {row["id"] for row in transaction.rows(SELECT_DEAD)}
        yield
        with self.store.reading() as transaction:
            for row in transaction.rows("SELECT * FROM notification WHERE rowid > ?", (last,)):
                event = transaction.row("SELECT 1 AS yes FROM event WHERE alert = ? AND reason = ? AND occurred_at <= ?", (row["alert"], row["reason"], row["created_at"]))  # fmt: skip
                assert event, "every notification has a recorded event"
                silenced = self._silenced(
                    transaction, alert_store.load_alert(transaction, row["alert"])
                )
                assert Reason(row["reason"]) in SENT_DESPITE_SILENCE or not silenced, (
                    "a silenced alert is not notified"
                )
            for row in transaction.rows(SELECT_DEAD):
                if row["id"] not in dead:
                    self._check_undelivered(transaction, row)
        self._check_open_alerts()

    def _silenced(self, transaction, alert):
        return any(one.matcher.matches(alert) for one in silences.active(transaction, self.now))

    def _check_undelivered(self, transaction, row):
        """Check the alert about an undelivered message, and the fallback of a critical one."""
        notification = outbox.parse_row(row)
        failure_alert = next(one for one in alert_store.load_latest(transaction, 10_000) if (one.kind, one.object) == (CHANNEL_UNDELIVERED.name, row["channel"]))  # fmt: skip
        assert notification.message.title in failure_alert.evidence[channel_health.LOST], (
            "the undelivered message is named in the evidence"
        )
        expected = transaction.rows("SELECT channel FROM notification WHERE alert = ? AND generation = ?", (failure_alert.id, failure_alert.generation))  # fmt: skip
        other_channels = {one["channel"] for one in expected} - {row["channel"]}
        assert (
            other_channels
            or failure_alert.suppressed_by
            or not set(self.configured) - {row["channel"]}
        ), "an undelivered message is alerted on another channel"
        alert = alert_store.load_alert(transaction, row["alert"])
        if alert.state is State.FIRING and alert.severity is Severity.CRITICAL and not self._silenced(transaction, alert):  # fmt: skip
            for other in set(self.policy.fallback) - {row["channel"]}:
                assert outbox.was_notified(transaction, alert, other), (
                    "a critical alert is sent to the fallback channels"
                )

    def _check_delivered(self, notification):
        """Check that the alert was not silenced, nor acknowledged before an escalation."""
        if notification.again or notification.recipients:
            return
        with self.store.reading() as transaction:
            for member in notification.members:
                row = transaction.row("SELECT * FROM notification WHERE id = ?", (member,))
                alert = alert_store.load_alert(transaction, row["alert"])
                reason, same = Reason(row["reason"]), alert.generation == row["generation"]
                if alert.state is State.FIRING and same and reason not in SENT_DESPITE_SILENCE:
                    assert not self._silenced(transaction, alert), (
                        "an alert silenced while the message waited is not sent"
                    )
                if alert.state is State.ACKNOWLEDGED:
                    assert reason is not Reason.ESCALATED, "an acknowledged alert is not escalated"

    def _check_open_alerts(self):
        with self.store.reading() as transaction:
            alerts = alert_store.load_open(transaction)
        fingerprints = [alert.fingerprint for alert in alerts]
        assert len(set(fingerprints)) == len(fingerprints), "at most one open alert per fingerprint"

    def finish(self):
        """Deliver everything in the outbox, then check the final state."""
        for _ in range(400):
            self.now += timedelta(minutes=20)
            if not sum([self.courier().deliver_one(name) for name in self.configured]):
                with self.store.reading() as transaction:
                    if not outbox.count_waiting(transaction):
                        break
        with self.store.reading() as transaction:
            assert outbox.count_waiting(transaction) == 0, "the outbox is empty"
            alerts = {alert.id: alert for alert in alert_store.load_latest(transaction, 10_000)}
            rows = transaction.rows("SELECT * FROM notification ORDER BY created_at, rowid")
        self._check_channel_state(
            alerts, {(row["channel"], row["alert"]) for row in rows if row["state"] == "dead"}
        )
        self._check_copies(rows)
        self._check_repeat_interval(
            [row for row in rows if alerts[row["alert"]].kind != CHANNEL_UNDELIVERED.name]
        )  # an undelivered alert is repeated with each new loss

    def _check_channel_state(self, alerts, undelivered):
        for name, recipient in (
            (name, recipient)
            for name, channel in self.channels.items()
            for recipient in channel.recipients
        ):
            resolved = {}
            for accepted_for, notification in self.channels[name].accepted_by:
                resolved |= resolved_by_alert(notification) if accepted_for == recipient else {}
            for number, is_resolved in resolved.items():
                alert = alerts[number]
                if (name, number) in undelivered or name in self.removed:
                    continue
                if alert.state is State.RESOLVED:
                    assert is_resolved, "every notified recipient gets the resolve"
                elif alert.state is not State.PENDING and name in self._notified_channels(alert):
                    assert not is_resolved, "the last message about a firing alert is not a resolve"

    def _notified_channels(self, alert):
        """Return the channels notified of the current generation of an alert."""
        with self.store.reading() as transaction:
            return alert_store.load_recipients(transaction, alert).notified.get(alert.id, ())

    def _check_copies(self, rows):
        total = 0
        for name, channel in self.channels.items():
            members_by_id, copies = defaultdict(set), defaultdict(set)
            for notification in channel.accepted:
                members_by_id[notification.id].add(notification.members)
                for member in notification.members:
                    copies[member].add(notification.id)
            assert all(len(members) == 1 for members in members_by_id.values()), (
                "a notification id always has the same members"
            )
            split = channel.split
            assert all(len(ids) == 1 for one, ids in copies.items() if one not in split), (
                "every copy has the same id"
            )
            delivered = {
                member for members in members_by_id.values() for one in members for member in one
            }
            expected = {row["id"]: row["state"] for row in rows if row["channel"] == name}
            assert delivered <= expected.keys(), "only messages of the outbox are delivered"
            assert delivered >= {number for number, state in expected.items() if state != "dead"}, (
                "all messages of the outbox are delivered"
            )
            by_recipient = [
                (recipient, notification.id)
                for recipient, notification in channel.accepted_by
                if recipient == channel.recipients[0]
            ]
            total += len(by_recipient) - len(set(by_recipient))
        assert total <= self.possible_duplicates, "no copies beyond ambiguous deliveries"

    def _check_repeat_interval(self, rows):
        last = {}
        for row in rows:
            key = (row["alert"], row["generation"], row["channel"])
            at = datetime.fromisoformat(row["created_at"])
            if row["reason"] == Reason.REPEATED.value and key in last:
                assert at - last[key] >= timedelta(hours=1), "no repeat before its interval"
            if Reason(row["reason"]) not in {Reason.ACKNOWLEDGED, Reason.CHANGED}:
                last[key] = at


severities = st.sampled_from([Severity.WARNING, Severity.HIGH, Severity.CRITICAL])
found = st.lists(
    st.tuples(st.sampled_from("abc"), severities), max_size=3, unique_by=lambda one: one[0]
)
behaviours = st.sampled_from(["accept", "accept", "accept", "refuse", "throttle", "ambiguous", "accept without response", "kill before", "kill after", "accept one recipient", "accept one recipient", "reject"])  # fmt: skip
events = st.one_of(
    st.tuples(st.just("process"), found, st.booleans()),
    st.tuples(st.just("process"), found, st.just(value=True)),
    st.tuples(st.just("deliver"), st.sampled_from(list(CHANNELS)), behaviours),
    st.tuples(st.just("deliver"), st.sampled_from(["chat", "mail"]), behaviours),
    st.tuples(st.just("advance_clock"), st.integers(1, 2000)),
    st.tuples(st.just("advance_clock"), st.integers(1, 20)),
    st.tuples(st.just("review")),
    st.tuples(st.just("acknowledge"), st.integers(0, 5), st.sampled_from([0, 0, 30, 600])),
    st.tuples(st.just("silence"), st.sampled_from(["a", "b", "*"]), st.integers(1, 600)),
    st.tuples(
        st.just("configure"),
        st.integers(0, len(POLICIES) - 1),
        st.sampled_from(["", "", "mail", "ticket"]),
    ),
    st.tuples(st.just("set_reachable"), st.booleans()),
)
sequences = st.lists(events, min_size=3, max_size=30)


def run_sequence(model, sequence):
    """Apply each event of a sequence, then check the final state."""
    for name, *arguments in sequence:
        getattr(model, name)(*arguments)
    model.finish()
