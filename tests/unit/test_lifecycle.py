"""Alert lifecycle: each change is notified once, and every notified channel gets the resolve."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from alerts.alert import NOTIFYING, Reason, State
from alerts.alert_state import AlertState
from alerts.lifecycle import decide, review
from alerts.policy import Policy
from domain.coverage import Coverage
from domain.finding import Finding, Identity, Severity

POLICY = Policy(
    {
        Severity.WARNING: ("slack",),
        Severity.HIGH: ("slack", "mail"),
        Severity.CRITICAL: ("slack", "mail", "ticket"),
    }
)
START = datetime(2026, 3, 1, 2, tzinfo=UTC)
COVERAGE = Coverage("orphans", "main")


def finding(name="a", severity=Severity.HIGH, kind="orphans"):
    return Finding(Identity(kind, database="main", object=name), severity, f"{name} is {severity}")


class MemoryStore:
    """An alert store in memory."""

    def __init__(self):
        self.alerts, self.notified, self.log = {}, {}, []

    def process(self, findings, now, coverage=(COVERAGE,)):
        known = AlertState(
            [a for a in self.alerts.values() if a.resolved_at is None], self.notified
        )
        changes = decide(findings, coverage, known, POLICY, now)
        self.apply(changes)
        return changes

    def apply(self, changes):
        for change in changes:
            number = change.alert.id or len(self.alerts) + 1
            self.alerts[number] = replace(change.alert, id=number)
            if change.reason in NOTIFYING:
                self.notified[number] = tuple(
                    dict.fromkeys((*self.notified.get(number, ()), *change.channels))
                )
                self.log += [(number, channel, change.reason) for channel in change.channels]


def test_reasons_from_opened_to_resolved():
    store = MemoryStore()
    hour = timedelta(hours=1)
    reasons = [
        [change.reason for change in store.process(findings, START + n * hour)]
        for n, findings in enumerate(
            [
                [finding()],
                [finding()],
                [finding(severity=Severity.CRITICAL)],
                [finding(severity=Severity.WARNING)],
                [],
                [],
            ]
        )
    ]
    assert reasons == [
        [Reason.OPENED], [Reason.SEEN], [Reason.RAISED], [Reason.REPEATED], [Reason.RESOLVED], []
    ]  # fmt: skip
    assert [channel for _, channel, reason in store.log if reason is Reason.RESOLVED] == [
        "slack",
        "mail",
        "ticket",
    ]


def test_alert_outside_coverage_is_not_resolved():
    store = MemoryStore()
    store.process([finding(), finding(kind="same_tenant")], START, [COVERAGE])
    assert [
        c.alert.kind for c in store.process([], START, [Coverage("same_tenant", "other")])
    ] == []
    assert [c.alert.kind for c in store.process([], START, [COVERAGE])] == ["orphans"]


def test_duplicate_findings_become_one_alert_with_highest_severity():
    (change,) = MemoryStore().process(
        [finding(severity=Severity.WARNING), finding(severity=Severity.CRITICAL)], START
    )
    assert change.alert.severity is Severity.CRITICAL


def test_repeat_is_due_after_interval_unless_acknowledged():
    store = MemoryStore()
    store.process([finding(), finding("b", Severity.WARNING)], START)
    known = AlertState(list(store.alerts.values()), store.notified)
    assert list(review(known, POLICY, START + timedelta(hours=23))) == []
    (again,) = review(known, POLICY, START + timedelta(hours=24))
    assert (again.reason, again.alert.object) == (Reason.REPEATED, "a")
    acknowledged = AlertState(
        [replace(a, state=State.ACKNOWLEDGED) for a in known.alerts], store.notified
    )
    assert list(review(acknowledged, POLICY, START + timedelta(days=9))) == []


observations = st.lists(
    st.tuples(
        st.lists(
            st.builds(finding, st.sampled_from("abc"), st.sampled_from(list(Severity))), max_size=4
        ),
        st.booleans(),
        st.integers(0, 30),
    ),
    max_size=25,
)


@given(observations)
def test_alert_invariants_hold_for_any_sequence_of_findings(sequence):
    store, now = MemoryStore(), START
    for findings, covered, hours in sequence:
        now += timedelta(hours=hours)
        store.process(findings, now, [COVERAGE] if covered else [])
        open_now = [a for a in store.alerts.values() if a.resolved_at is None]
        assert len({a.fingerprint for a in open_now}) == len(open_now)
        assert {f.identity.fingerprint() for f in findings} <= {a.fingerprint for a in open_now}
    for number, alert in store.alerts.items():
        notified = {
            channel
            for n, channel, reason in store.log
            if n == number and reason is not Reason.RESOLVED
        }
        resolved = [
            channel for n, channel, reason in store.log if n == number and reason is Reason.RESOLVED
        ]
        assert sorted(resolved) == (sorted(notified) if alert.resolved_at else [])
        opened = [entry for entry in store.log if entry[0] == number and entry[2] is Reason.OPENED]
        assert len(opened) == len({channel for _, channel, _ in opened})


@given(st.lists(st.sampled_from(list(Severity)), min_size=1, max_size=12))
def test_alert_is_notified_only_when_opened_or_raised(severities):
    store = MemoryStore()
    for minute, severity in enumerate(severities):
        store.process([finding(severity=severity)], START + timedelta(minutes=minute))
    raised = sum(
        reason in {Reason.OPENED, Reason.RAISED}
        for _, channel, reason in store.log
        if channel == "slack"
    )
    assert raised <= 1 + len([1 for a, b in pairwise(severities) if b.rank > a.rank])
