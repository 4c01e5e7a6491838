"""Who hears of what: over any sequence of looks, nobody is told twice, and whoever was told hears the end."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from alerts.alert import NOTIFYING, Reason, State
from alerts.alert_state import AlertState
from alerts.lifecycle import decide
from alerts.lifecycle import review as repeats
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
AREA = Coverage("orphans", "main")


def found(name="a", severity=Severity.HIGH, kind="orphans"):
    return Finding(Identity(kind, database="main", object=name), severity, f"{name} is {severity}")


class Book:
    """What the store does, in a dictionary."""

    def __init__(self):
        self.alerts, self.told, self.log = {}, {}, []

    def look(self, findings, now, coverage=(AREA,)):
        known = AlertState([a for a in self.alerts.values() if a.resolved_at is None], self.told)
        changes = decide(findings, coverage, known, POLICY, now)
        self.take(changes)
        return changes

    def take(self, changes):
        for change in changes:
            number = change.alert.id or len(self.alerts) + 1
            self.alerts[number] = replace(change.alert, id=number)
            if change.reason in NOTIFYING:
                self.told[number] = tuple(
                    dict.fromkeys((*self.told.get(number, ()), *change.channels))
                )
                self.log += [(number, channel, change.reason) for channel in change.channels]


def test_first_seen_again_worse_better_gone():
    book = Book()
    hour = timedelta(hours=1)
    reasons = [
        [change.reason for change in book.look(findings, START + n * hour)]
        for n, findings in enumerate(
            [
                [found()],
                [found()],
                [found(severity=Severity.CRITICAL)],
                [found(severity=Severity.WARNING)],
                [],
                [],
            ]
        )
    ]
    assert reasons == [
        [Reason.OPENED], [Reason.SEEN], [Reason.RAISED], [Reason.REPEATED], [Reason.RESOLVED], []
    ]  # fmt: skip
    assert [channel for _, channel, reason in book.log if reason is Reason.RESOLVED] == [
        "slack",
        "mail",
        "ticket",
    ]


def test_what_was_not_looked_at_is_not_over():
    book = Book()
    book.look([found(), found(kind="same_tenant")], START, [AREA])
    assert [c.alert.kind for c in book.look([], START, [Coverage("same_tenant", "other")])] == []
    assert [c.alert.kind for c in book.look([], START, [AREA])] == ["orphans"]


def test_the_same_trouble_twice_in_one_look_is_one_alert_at_its_worst():
    (change,) = Book().look(
        [found(severity=Severity.WARNING), found(severity=Severity.CRITICAL)], START
    )
    assert change.alert.severity is Severity.CRITICAL


def test_repeats_come_at_their_time_and_not_after_an_acknowledgement():
    book = Book()
    book.look([found(), found("b", Severity.WARNING)], START)
    known = AlertState(list(book.alerts.values()), book.told)
    assert list(repeats(known, POLICY, START + timedelta(hours=23))) == []
    (again,) = repeats(known, POLICY, START + timedelta(hours=24))
    assert (again.reason, again.alert.object) == (Reason.REPEATED, "a")
    acknowledged = AlertState(
        [replace(a, state=State.ACKNOWLEDGED) for a in known.alerts], book.told
    )
    assert list(repeats(acknowledged, POLICY, START + timedelta(days=9))) == []


looks = st.lists(
    st.tuples(
        st.lists(
            st.builds(found, st.sampled_from("abc"), st.sampled_from(list(Severity))), max_size=4
        ),
        st.booleans(),
        st.integers(0, 30),
    ),
    max_size=25,
)


@given(looks)
def test_over_any_sequence_of_looks(sequence):
    book, now = Book(), START
    for findings, covered, hours in sequence:
        now += timedelta(hours=hours)
        book.look(findings, now, [AREA] if covered else [])
        open_now = [a for a in book.alerts.values() if a.resolved_at is None]
        assert len({a.fingerprint for a in open_now}) == len(open_now)
        assert {f.identity.fingerprint() for f in findings} <= {a.fingerprint for a in open_now}
    for number, alert in book.alerts.items():
        told = {
            channel
            for n, channel, reason in book.log
            if n == number and reason is not Reason.RESOLVED
        }
        ended = [
            channel for n, channel, reason in book.log if n == number and reason is Reason.RESOLVED
        ]
        assert sorted(ended) == (sorted(told) if alert.resolved_at else [])
        opened = [entry for entry in book.log if entry[0] == number and entry[2] is Reason.OPENED]
        assert len(opened) == len({channel for _, channel, _ in opened})


@given(st.lists(st.sampled_from(list(Severity)), min_size=1, max_size=12))
def test_an_unchanged_state_is_told_once_a_day_at_most(severities):
    book = Book()
    for minute, severity in enumerate(severities):
        book.look([found(severity=severity)], START + timedelta(minutes=minute))
    raised = sum(
        reason in {Reason.OPENED, Reason.RAISED}
        for _, channel, reason in book.log
        if channel == "slack"
    )
    assert raised <= 1 + len([1 for a, b in pairwise(severities) if b.rank > a.rank])
