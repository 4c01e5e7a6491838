"""A world with a clock of its own: troubles come and go, people acknowledge and silence, channels fail, we die.

The store, the rules, the outbox and the courier are the real ones; a channel is a party that takes messages, refuses
them, or takes them and loses its answer. What has to be so at every moment, and in the end, is asserted here.
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
from store.store import open_store

START = datetime(2026, 3, 1, 2, tzinfo=UTC)
ROUTES = {
    Severity.WARNING: ("chat",),
    Severity.HIGH: ("chat", "mail", "ticket"),
    Severity.CRITICAL: ("chat", "mail", "ticket"),
}
CHANNELS = {"chat": Traits(groups=True, edits=True, wants_acknowledgements=True), "mail": Traits(groups=True), "ticket": Traits(wants_acknowledgements=True), "second": Traits()}  # fmt: skip
POLICIES = (
    Policy(ROUTES, instance="world", grouping_channels=frozenset({"chat", "mail"}), acknowledging_channels=frozenset({"chat", "ticket"}), editing_channels=frozenset({"chat"}), group_wait=timedelta(seconds=15), escalation_steps=(EscalationStep(after=timedelta(minutes=30), channels=("second",)),), fallback=("second",)),
    Policy({**ROUTES, Severity.HIGH: ("mail",)}, instance="world", grouping_channels=frozenset({"chat"}), acknowledging_channels=frozenset({"chat"})),
    Policy(ROUTES, instance="world", thresholds=(Threshold(object="b", failures=2, passes=2),), group_interval=timedelta(minutes=5)),
)  # fmt: skip
REFUSALS = {"refuse": Failure.TRANSIENT, "never": Failure.PERMANENT, "throttle": Failure.THROTTLED, "lose": Failure.AMBIGUOUS}  # fmt: skip
PEOPLE = {"mail": ("ana", "ben", "eva")}
DEAD = "SELECT * FROM notification WHERE state = 'dead'"
QUIET_REASONS = {Reason.RESOLVED, Reason.ACKNOWLEDGED, Reason.CHANGED, Reason.CHANNEL_TEST}


class Died(BaseException):
    """The process is killed here."""


@dataclass
class Party:
    """One channel: what it has taken, and how it will behave; those whom it stands for may take a message one by one."""

    traits: Traits
    people: tuple = ("",)
    behaviour: str = "take"
    taken: list = field(default_factory=list)
    taken_by: list = field(default_factory=list)
    split: set = field(default_factory=set)
    """What was refused together, and so is tried one by one: under another id, if it was taken together before."""

    def deliver(self, notification):
        if self.behaviour == "die before":
            raise Died
        if self.behaviour == "never" and len(notification.members) > 1:
            self.split |= set(notification.members)
        if self.behaviour in REFUSALS:
            raise DeliveryError(REFUSALS[self.behaviour], self.behaviour)
        meant = notification.recipients or self.people
        first = meant[:1] if self.behaviour == "some" else meant
        self.taken.append(notification)
        self.taken_by += [(who, notification) for who in first]
        if first != meant:
            return Receipt("taken by some", accepted=first, later=dict.fromkeys(meant[1:], "full"))
        if self.behaviour == "take and lose":
            raise DeliveryError(Failure.AMBIGUOUS, "no answer")
        if self.behaviour == "die after":
            raise Died
        return Receipt("taken", remote=f"r{len(self.taken)}", accepted=meant)


def believed(notification):
    """What a party knows after a message: by alert, whether it is over."""
    message = notification.message
    if message.lines:
        return {line.alert: line.over for line in message.lines}
    return {message.alert: message.over}


class World:
    def __init__(self, path):
        self.now = START
        self.store = open_store(path)
        self.parties = {
            name: Party(traits, PEOPLE.get(name, ("",))) for name, traits in CHANNELS.items()
        }
        self.channel_names = dict(self.parties)
        self.policy = POLICIES[0]
        self.warnings = 0
        self.taken_out = set()

    def courier(self):
        return Courier(self.store, self.channel_names, self.policy, lambda: self.now)

    def processor(self, transaction):
        return AlertProcessor(transaction, self.policy, self.now)

    # what happens

    def look(self, found, covered):
        findings = [Finding(Identity("orphans", "world", database="main", object=name), severity, f"{name} is {severity}") for name, severity in found]  # fmt: skip
        self._write(
            lambda processor: processor.process(
                findings, [Coverage("orphans", "main")] if covered else []
            )
        )

    def server(self, up):
        finding = Finding(
            Identity(DATABASE_UNREACHABLE.name, "world", database="main"),
            Severity.CRITICAL,
            "no answer",
        )
        self._write(
            lambda processor: processor.process(
                [] if up else [finding], [Coverage(DATABASE_UNREACHABLE.name, "main")] if up else []
            )
        )

    def tick(self):
        self._write(lambda processor: processor.review())
        self._write(
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
        made = Silence(
            Matcher(object=name),
            "ana",
            "moving house",
            self.now,
            self.now + timedelta(minutes=minutes),
        )
        self._write(lambda processor: processor.silence(made))

    def pass_time(self, minutes):
        self.now += timedelta(minutes=minutes)

    def configure(self, number, absent):
        """Another configuration, and a reload: a channel may be taken out."""
        self.channel_names = {name: party for name, party in self.parties.items() if name != absent}
        self.taken_out |= {absent} - {""}
        made = POLICIES[number]
        routes = {
            severity: tuple(name for name in names if name != absent)
            for severity, names in made.routes.items()
        }
        self.policy = replace(made, routes=routes, channel_names=frozenset(self.channel_names))
        with self._told_rightly():
            self.courier().drain(0)

    def deliver(self, name, behaviour):
        if name not in self.channel_names:
            return
        party = self.parties[name]
        party.behaviour = behaviour
        before = len(party.taken)
        with self._told_rightly():
            try:
                self.courier().deliver_one(name)
            except Died:
                with self.store.transaction() as transaction:  # the next start
                    outbox.expire_leases(transaction)
                self.warnings += 1
        self.warnings += behaviour == "take and lose" and len(party.taken) > before
        party.behaviour = "take"
        for notification in party.taken[before:]:
            self._wanted(notification)

    def _write(self, act):
        with self._told_rightly(), self.store.transaction() as transaction:
            act(self.processor(transaction))

    # what has to be so

    @contextmanager
    def _told_rightly(self):
        """What is owed meanwhile is right, and so is what is given up."""
        with self.store.reading() as transaction:
            last = transaction.row("SELECT coalesce(max(rowid), 0) AS n FROM notification")["n"]
            dead = {row["id"] for row in transaction.rows(DEAD)}
        yield
        with self.store.reading() as transaction:
            for row in transaction.rows("SELECT * FROM notification WHERE rowid > ?", (last,)):
                event = transaction.row("SELECT 1 AS yes FROM event WHERE alert = ? AND reason = ? AND occurred_at <= ?", (row["alert"], row["reason"], row["created_at"]))  # fmt: skip
                assert event, "nothing is told but for an event that is written down"
                quiet = self._silenced(
                    transaction, alert_store.load_alert(transaction, row["alert"])
                )
                assert Reason(row["reason"]) in QUIET_REASONS or not quiet, (
                    "what is silenced is not told"
                )
            for row in transaction.rows(DEAD):
                if row["id"] not in dead:
                    self._told_elsewhere(transaction, row)
        self._consistent()

    def _silenced(self, transaction, alert):
        return any(one.matcher.matches(alert) for one in silences.active(transaction, self.now))

    def _told_elsewhere(self, transaction, row):
        """Of what is given up another channel hears, and what is critical goes by the fallback."""
        notification = outbox.parse_row(row)
        about = next(one for one in alert_store.load_latest(transaction, 10_000) if (one.kind, one.object) == (CHANNEL_UNDELIVERED.name, row["channel"]))  # fmt: skip
        assert notification.message.title in about.evidence[channel_health.LOST], (
            "what is given up is named"
        )
        owed = transaction.rows("SELECT channel FROM notification WHERE alert = ? AND generation = ?", (about.id, about.generation))  # fmt: skip
        others = {one["channel"] for one in owed} - {row["channel"]}
        assert others or about.suppressed_by or not set(self.channel_names) - {row["channel"]}, (
            "what is given up is told elsewhere"
        )
        alert = alert_store.load_alert(transaction, row["alert"])
        if alert.state is State.FIRING and alert.severity is Severity.CRITICAL and not self._silenced(transaction, alert):  # fmt: skip
            for other in set(self.policy.fallback) - {row["channel"]}:
                assert outbox.was_notified(transaction, alert, other), (
                    "what is critical goes by the fallback"
                )

    def _wanted(self, notification):
        """Nobody is told what was silenced, or called for what was acknowledged, before the message went out."""
        if notification.again or notification.recipients:
            return
        with self.store.reading() as transaction:
            for member in notification.members:
                row = transaction.row("SELECT * FROM notification WHERE id = ?", (member,))
                alert = alert_store.load_alert(transaction, row["alert"])
                reason, same = Reason(row["reason"]), alert.generation == row["generation"]
                if alert.state is State.FIRING and same and reason not in QUIET_REASONS:
                    assert not self._silenced(transaction, alert), (
                        "what is silenced meanwhile is not told"
                    )
                if alert.state is State.ACKNOWLEDGED:
                    assert reason is not Reason.ESCALATED, (
                        "what somebody looks after is not escalated"
                    )

    def _consistent(self):
        with self.store.reading() as transaction:
            alerts = alert_store.load_open(transaction)
        prints = [alert.fingerprint for alert in alerts]
        assert len(set(prints)) == len(prints), "one open alert a trouble"

    def finish(self):
        """Every party takes what it is owed; then what it knows is so."""
        for _ in range(400):
            self.now += timedelta(minutes=20)
            if not sum([self.courier().deliver_one(name) for name in self.channel_names]):
                with self.store.reading() as transaction:
                    if not outbox.count_waiting(transaction):
                        break
        with self.store.reading() as transaction:
            assert outbox.count_waiting(transaction) == 0, "everything that is owed is delivered"
            alerts = {alert.id: alert for alert in alert_store.load_latest(transaction, 10_000)}
            rows = transaction.rows("SELECT * FROM notification ORDER BY created_at, rowid")
        self._knowledge(
            alerts, {(row["channel"], row["alert"]) for row in rows if row["state"] == "dead"}
        )
        self._copies(rows)
        self._pauses(
            [row for row in rows if alerts[row["alert"]].kind != CHANNEL_UNDELIVERED.name]
        )  # it has news

    def _knowledge(self, alerts, refused):
        for name, who in (
            (name, who) for name, party in self.parties.items() for who in party.people
        ):
            known = {}
            for whose, notification in self.parties[name].taken_by:
                known |= believed(notification) if whose == who else {}
            for number, over in known.items():
                alert = alerts[number]
                if (name, number) in refused or name in self.taken_out:
                    continue
                if alert.state is State.RESOLVED:
                    assert over, "who was told hears that it is over"
                elif alert.state is not State.PENDING and name in self._owed_of(alert):
                    assert not over, "who was told that it fires does not believe that it is over"

    def _owed_of(self, alert):
        """Who was told in its present life."""
        with self.store.reading() as transaction:
            return alert_store.load_recipients(transaction, alert).told.get(alert.id, ())

    def _copies(self, rows):
        total = 0
        for name, party in self.parties.items():
            said, copies = defaultdict(set), defaultdict(set)
            for notification in party.taken:
                said[notification.id].add(notification.members)
                for member in notification.members:
                    copies[member].add(notification.id)
            assert all(len(members) == 1 for members in said.values()), (
                "an id stands for the same things always"
            )
            split = party.split
            assert all(len(ids) == 1 for one, ids in copies.items() if one not in split), (
                "every copy has the same id"
            )
            told = {member for members in said.values() for one in members for member in one}
            owed = {row["id"]: row["state"] for row in rows if row["channel"] == name}
            assert told <= owed.keys(), "nothing but what is owed"
            assert told >= {number for number, state in owed.items() if state != "dead"}, (
                "all that is owed"
            )
            by_person = [
                (who, notification.id)
                for who, notification in party.taken_by
                if who == party.people[0]
            ]
            total += len(by_person) - len(set(by_person))
        assert total <= self.warnings, "no copy without a reason to doubt"

    def _pauses(self, rows):
        last = {}
        for row in rows:
            key = (row["alert"], row["generation"], row["channel"])
            at = datetime.fromisoformat(row["created_at"])
            if row["reason"] == Reason.REPEATED.value and key in last:
                assert at - last[key] >= timedelta(hours=1), "nothing is repeated before its time"
            if Reason(row["reason"]) not in {Reason.ACKNOWLEDGED, Reason.CHANGED}:
                last[key] = at


severities = st.sampled_from([Severity.WARNING, Severity.HIGH, Severity.CRITICAL])
found = st.lists(
    st.tuples(st.sampled_from("abc"), severities), max_size=3, unique_by=lambda one: one[0]
)
behaviours = st.sampled_from(["take", "take", "take", "refuse", "throttle", "lose", "take and lose", "die before", "die after", "some", "some", "never"])  # fmt: skip
happenings = st.one_of(
    st.tuples(st.just("look"), found, st.booleans()),
    st.tuples(st.just("look"), found, st.just(value=True)),
    st.tuples(st.just("deliver"), st.sampled_from(list(CHANNELS)), behaviours),
    st.tuples(st.just("deliver"), st.sampled_from(["chat", "mail"]), behaviours),
    st.tuples(st.just("pass_time"), st.integers(1, 2000)),
    st.tuples(st.just("pass_time"), st.integers(1, 20)),
    st.tuples(st.just("tick")),
    st.tuples(st.just("acknowledge"), st.integers(0, 5), st.sampled_from([0, 0, 30, 600])),
    st.tuples(st.just("silence"), st.sampled_from(["a", "b", "*"]), st.integers(1, 600)),
    st.tuples(
        st.just("configure"),
        st.integers(0, len(POLICIES) - 1),
        st.sampled_from(["", "", "mail", "ticket"]),
    ),
    st.tuples(st.just("server"), st.booleans()),
)
sequences = st.lists(happenings, min_size=3, max_size=30)


def live(world, sequence):
    """Let it all happen."""
    for name, *arguments in sequence:
        getattr(world, name)(*arguments)
    world.finish()
