"""Alert policy: thresholds, flapping, silences, inhibition, escalation, routes, working hours."""

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.alert import Reason, State
from alerts.alert_state import AlertState
from alerts.digest import combine
from alerts.hours import Hours
from alerts.lifecycle import Acknowledgement, acknowledge, decide, review
from alerts.message import compose
from alerts.policy import Policy, Silence
from alerts.rules import EscalationStep, Matcher, Route, Threshold
from domain.coverage import Coverage
from domain.finding import Finding, Identity, Severity
from domain.kinds import DATABASE_UNREACHABLE

ROUTES = {
    Severity.WARNING: ("chat",),
    Severity.HIGH: ("chat", "mail"),
    Severity.CRITICAL: ("chat", "mail", "ticket"),
}
START = datetime(2026, 3, 2, 2, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
COVERAGE = Coverage("orphans", "main")


def finding(name="a", severity=Severity.HIGH, kind="orphans"):
    return Finding(Identity(kind, database="main", object=name), severity, f"{name} is {severity}")


class AlertSimulator:
    """An alert store in memory with a clock."""

    def __init__(self, **rules):
        self.policy = Policy(ROUTES, **rules)
        self.now, self.alerts, self.notified, self.silences, self.log = START, {}, {}, (), []

    def state(self):
        open_alerts = [alert for alert in self.alerts.values() if alert.resolved_at is None]
        resolved = {
            alert.fingerprint: alert
            for alert in self.alerts.values()
            if alert.resolved_at is not None
        }
        unreachable = frozenset(
            alert.database for alert in open_alerts if alert.kind == DATABASE_UNREACHABLE.name
        )
        notified = {number: channels for (number, generation), channels in self.notified.items() if self.alerts[number].generation == generation}  # fmt: skip
        return AlertState(open_alerts, notified, resolved, self.silences, unreachable)

    def process(self, *findings, coverage=(COVERAGE,), after=timedelta()):
        self.now += after
        return self._apply(decide(findings, coverage, self.state(), self.policy, self.now))

    def review(self, after=timedelta()):
        self.now += after
        return self._apply(review(self.state(), self.policy, self.now))

    def acknowledge(self, number, until=None):
        return self._apply(
            [
                acknowledge(
                    self.alerts[number], Acknowledgement("ana", until), self.state(), self.policy
                )
            ]
        )

    def _apply(self, changes):
        results = []
        for change in changes:
            number = change.alert.id or len(self.alerts) + 1
            self.alerts[number] = replace(change.alert, id=number)
            key = (number, change.alert.generation)
            self.notified[key] = tuple(
                dict.fromkeys((*self.notified.get(key, ()), *change.channels))
            )
            results.append((change.reason, change.channels))
        self.log += [one for one in results if one[1]]
        return results


def test_alert_fires_after_threshold_failures_and_duration():
    simulator = AlertSimulator(thresholds=(Threshold(check="orphans", failures=3, duration=HOUR),))
    assert simulator.process(finding()) == [(Reason.PENDING, ())]
    assert simulator.process(finding(), after=MINUTE) == [(Reason.SEEN, ())]
    assert simulator.process(finding(), after=MINUTE) == [(Reason.SEEN, ())]
    assert simulator.alerts[1].state is State.PENDING
    assert simulator.process(finding(), after=HOUR) == [(Reason.OPENED, ("chat", "mail"))]


def test_pending_alert_is_withdrawn_without_notification():
    simulator = AlertSimulator(thresholds=(Threshold(failures=2),))
    simulator.process(finding())
    assert simulator.process(after=DAY) == [(Reason.WITHDRAWN, ())]
    assert simulator.process(finding(), after=DAY) == [(Reason.PENDING, ())]
    assert simulator.log == []


def test_alert_resolves_after_threshold_passes():
    simulator = AlertSimulator(thresholds=(Threshold(object="a", passes=2),))
    simulator.process(finding())
    assert simulator.process(after=HOUR) == [(Reason.SEEN, ())]
    assert simulator.process(finding(), after=HOUR) == [(Reason.SEEN, ())]
    simulator.process(after=HOUR)
    assert simulator.process(after=HOUR) == [(Reason.RESOLVED, ("chat", "mail"))]


def test_alert_reopens_within_reopen_period():
    simulator = AlertSimulator()
    simulator.process(finding())
    simulator.process(after=HOUR)
    assert simulator.process(finding(), after=30 * HOUR) == [(Reason.REOPENED, ("chat", "mail"))]
    (alert,) = simulator.alerts.values()
    assert (alert.id, alert.generation, alert.state) == (1, 2, State.FIRING)


def test_recurrence_after_reopen_period_opens_new_alert():
    simulator = AlertSimulator()
    simulator.process(finding())
    simulator.process(after=HOUR)
    assert simulator.process(finding(), after=37 * HOUR)[0][0] is Reason.OPENED
    assert len(simulator.alerts) == 2


def test_reopen_period_covers_job_interval():
    finding = Finding(Identity("task_failed", task="vacuum"), Severity.HIGH, "x")
    simulator = AlertSimulator(periods={"vacuum": 7 * DAY})
    simulator.process(finding, coverage=())
    simulator.process(coverage=[Coverage("task_failed", task="vacuum")], after=HOUR)
    assert simulator.process(finding, coverage=(), after=7 * DAY)[0][0] is Reason.REOPENED


@pytest.mark.parametrize("severity", [Severity.HIGH, Severity.CRITICAL])
def test_flapping_alert_is_notified_three_times(severity):
    simulator = AlertSimulator()
    for minute in range(24 * 60):
        simulator.process(*([finding(severity=severity)] if minute % 2 == 0 else []), after=MINUTE)
        simulator.review()
    reasons = [reason for reason, _ in simulator.log]
    assert reasons == [Reason.OPENED, Reason.RESOLVED, Reason.FLAPPING]


def test_alternating_results_flap_at_any_interval():
    simulator = AlertSimulator()
    reasons = [
        simulator.process(*([finding()] if day % 2 == 0 else []), after=DAY)[0][0]
        for day in range(5)
    ]
    assert reasons == [
        Reason.OPENED,
        Reason.RESOLVED,
        Reason.REOPENED,
        Reason.RESOLVED,
        Reason.FLAPPING,
    ]


def test_flapping_ends_after_stable_period():
    simulator = AlertSimulator()
    for minute in range(9):
        simulator.process(*([finding()] if minute % 2 == 0 else []), after=MINUTE)
    assert simulator.process(after=10 * MINUTE) == [(Reason.SEEN, ())]
    simulator.process(after=HOUR)
    assert simulator.process(after=MINUTE) == [(Reason.RESOLVED, ("chat", "mail"))]
    assert simulator.alerts[1].flapping is False


def test_final_coverage_resolves_flapping_alert():
    simulator = AlertSimulator()
    for minute in range(9):
        simulator.process(*([finding()] if minute % 2 == 0 else []), after=MINUTE)
    assert simulator.process(coverage=[Coverage("orphans", final=True)])[0][0] is Reason.RESOLVED


def silence(matcher, lasting=2 * HOUR):
    return Silence(matcher, "ana", "moving house", START, START + lasting, 1)


def test_silenced_alert_is_notified_when_silence_ends():
    simulator = AlertSimulator()
    simulator.silences = (silence(Matcher(object="a")),)
    assert simulator.process(finding(), finding("b")) == [
        (Reason.OPENED, ()),
        (Reason.OPENED, ("chat", "mail")),
    ]
    assert "ana" in simulator.alerts[1].suppressed_by
    assert simulator.review(HOUR) == []
    assert simulator.review(HOUR) == [(Reason.UNMUTED, ("chat", "mail"))]
    assert simulator.review(HOUR) == []


def test_resolve_during_silence_goes_only_to_notified_channels():
    simulator = AlertSimulator()
    simulator.process(finding())
    simulator.silences = (silence(Matcher()),)
    simulator.process(finding(), finding("b"))
    assert simulator.process(after=MINUTE) == [
        (Reason.RESOLVED, ("chat", "mail")),
        (Reason.RESOLVED, ()),
    ]


def test_raised_severity_is_notified_when_silence_ends():
    simulator = AlertSimulator()
    simulator.process(finding())
    simulator.silences = (silence(Matcher()),)
    assert simulator.process(finding(severity=Severity.CRITICAL), after=MINUTE) == [
        (Reason.RAISED, ())
    ]
    assert simulator.review(2 * HOUR) == [(Reason.UNMUTED, ("chat", "mail", "ticket"))]


def test_maintenance_window_silences_alerts():
    window = silence(Matcher(database="main"))
    simulator = AlertSimulator(windows=lambda now: (window,) if now < START + HOUR else ())
    assert simulator.process(finding()) == [(Reason.OPENED, ())]
    assert simulator.review(HOUR) == [(Reason.UNMUTED, ("chat", "mail"))]


def test_unreachable_database_inhibits_its_other_alerts():
    simulator = AlertSimulator()
    unreachable = Finding(
        Identity(DATABASE_UNREACHABLE.name, database="main"), Severity.CRITICAL, "no answer"
    )
    failed = Finding(Identity("task_failed", database="main", task="vacuum"), Severity.HIGH, "x")
    elsewhere = Finding(
        Identity("task_failed", database="other", task="vacuum"), Severity.HIGH, "x"
    )
    results = simulator.process(failed, elsewhere, unreachable, coverage=())
    assert results == [
        (Reason.OPENED, ()),
        (Reason.OPENED, ("chat", "mail")),
        (Reason.OPENED, ("chat", "mail", "ticket")),
    ]
    simulator.process(coverage=[Coverage(DATABASE_UNREACHABLE.name)], after=MINUTE)
    assert simulator.review(MINUTE) == [(Reason.UNMUTED, ("chat", "mail"))]


ESCALATION_STEPS = (
    EscalationStep(after=30 * MINUTE, channels=("phone",)),
    EscalationStep(after=2 * HOUR, channels=("boss",)),
)


def test_unacknowledged_alert_escalates():
    simulator = AlertSimulator(escalation_steps=ESCALATION_STEPS)
    simulator.process(finding(severity=Severity.CRITICAL), finding("b"))
    assert simulator.review(29 * MINUTE) == []
    assert simulator.review(MINUTE) == [(Reason.ESCALATED, ("phone",))]
    assert simulator.review(MINUTE) == []
    simulator.review(30 * MINUTE)
    assert simulator.review(HOUR)[0] == (Reason.ESCALATED, ("boss",))
    (resolved, _) = simulator.process(after=MINUTE)
    assert resolved == (Reason.RESOLVED, ("chat", "mail", "ticket", "phone", "boss"))


def test_acknowledgement_suspends_repeats_and_escalation_until_expiry():
    simulator = AlertSimulator(
        escalation_steps=ESCALATION_STEPS, acknowledging_channels=frozenset({"chat"})
    )
    simulator.process(finding(severity=Severity.CRITICAL))
    assert simulator.acknowledge(1, START + 8 * HOUR) == [(Reason.ACKNOWLEDGED, ("chat",))]
    assert simulator.review(7 * HOUR) == []
    assert simulator.review(HOUR) == [(Reason.UNMUTED, ("chat", "mail", "ticket"))]
    assert simulator.review(30 * MINUTE) == [(Reason.ESCALATED, ("phone",))]


def test_raised_severity_ends_acknowledgement():
    simulator = AlertSimulator()
    simulator.process(finding())
    simulator.acknowledge(1)
    assert (
        simulator.process(finding(severity=Severity.CRITICAL), after=MINUTE)[0][0] is Reason.RAISED
    )
    assert (simulator.alerts[1].state, simulator.alerts[1].acknowledged_by) == (State.FIRING, "")


def test_first_matching_route_decides_unless_it_continues():
    rules = (
        Route(tag="billing", channels=("billing",), continues=True),
        Route(severity=(Severity.HIGH,), check="orph*", channels=("data",), repeat=12 * HOUR),
    )
    simulator = AlertSimulator(rules=rules, tags={"main": frozenset({"billing"})})
    assert simulator.process(finding(), finding("b", Severity.WARNING)) == [
        (Reason.OPENED, ("data", "billing")),
        (Reason.OPENED, ("chat", "billing")),
    ]
    assert simulator.review(12 * HOUR) == [(Reason.REPEATED, ("data", "billing"))]


def test_repeat_waits_for_working_hours_unless_critical():
    simulator = AlertSimulator(hours=Hours.read("mon-fri 08:00-18:00", "America/La_Paz"))
    simulator.now = datetime(2026, 3, 6, 2, tzinfo=UTC)  # Thursday 22:00 in La Paz
    simulator.process(finding(), finding("b", Severity.CRITICAL))
    results = simulator.review(25 * HOUR)
    assert [channels for _, channels in results] == [("chat", "mail", "ticket")]
    due = simulator.alerts[1].next_repeat_at.astimezone(ZoneInfo("America/La_Paz"))
    assert (due.weekday(), due.time()) == (4, time(8)) or due > simulator.now


@given(
    st.integers(0, 370 * 24 * 60),
    st.sampled_from(["America/La_Paz", "Europe/Berlin", "Pacific/Apia"]),
)
def test_hours_opening_is_within_working_hours(minutes, zone):
    hours = Hours.read("tue-sat 07:30-12:00", zone)
    at = datetime(2026, 1, 1, tzinfo=UTC) + minutes * MINUTE
    opening = hours.opening(at)
    local = opening.astimezone(ZoneInfo(zone))
    assert at <= opening < at + 4 * DAY
    assert local.weekday() in range(1, 6)
    assert time(7, 30) <= local.time() < time(12)


@pytest.mark.parametrize(
    "text", ["", "mon-fri", "8-18", "mon-fri 18:00-08:00", "xxx 08:00-18:00", "mon 25:00-26:00"]
)
def test_hours_reject_invalid_text(text):
    with pytest.raises(ValueError, match="mon-fri"):
        Hours.read(text, "UTC")


def test_message_times_use_configured_time_zone():
    policy = Policy(ROUTES, instance="coop", timezone="America/La_Paz")
    (change,) = decide([finding()], (), AlertState(()), policy, START)
    message = compose(change, policy, "mail", START)
    assert message.local_time(START) == "2026-03-01 22:00 -04"
    assert message.details["first seen"] == "2026-03-01 22:00:00 -04"
    two = [message, replace(message, alert=2)]
    assert combine(two).title == "2 alerts of 2026-03-01"
    assert combine(two).zone == "America/La_Paz"
