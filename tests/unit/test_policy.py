"""What keeps an alert from being told, what brings it back, and who hears of it when nobody takes it."""

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
AREA = Coverage("orphans", "main")


def found(name="a", severity=Severity.HIGH, kind="orphans"):
    return Finding(Identity(kind, database="main", object=name), severity, f"{name} is {severity}")


class House:
    """The book in a dictionary, and a clock."""

    def __init__(self, **rules):
        self.policy = Policy(ROUTES, **rules)
        self.now, self.alerts, self.told, self.silences, self.log = START, {}, {}, (), []

    def known(self):
        opened = [alert for alert in self.alerts.values() if alert.resolved_at is None]
        ended = {
            alert.fingerprint: alert
            for alert in self.alerts.values()
            if alert.resolved_at is not None
        }
        lost = frozenset(
            alert.database for alert in opened if alert.kind == DATABASE_UNREACHABLE.name
        )
        told = {number: channels for (number, generation), channels in self.told.items() if self.alerts[number].generation == generation}  # fmt: skip
        return AlertState(opened, told, ended, self.silences, lost)

    def look(self, *findings, coverage=(AREA,), after=timedelta()):
        self.now += after
        return self._take(decide(findings, coverage, self.known(), self.policy, self.now))

    def tick(self, after=timedelta()):
        self.now += after
        return self._take(review(self.known(), self.policy, self.now))

    def ack(self, number, until=None):
        return self._take(
            [
                acknowledge(
                    self.alerts[number], Acknowledgement("ana", until), self.known(), self.policy
                )
            ]
        )

    def _take(self, changes):
        said = []
        for change in changes:
            number = change.alert.id or len(self.alerts) + 1
            self.alerts[number] = replace(change.alert, id=number)
            key = (number, change.alert.generation)
            self.told[key] = tuple(dict.fromkeys((*self.told.get(key, ()), *change.channels)))
            said.append((change.reason, change.channels))
        self.log += [one for one in said if one[1]]
        return said


def test_it_fires_when_it_was_found_so_often_and_for_so_long():
    house = House(thresholds=(Threshold(check="orphans", failures=3, duration=HOUR),))
    assert house.look(found()) == [(Reason.PENDING, ())]
    assert house.look(found(), after=MINUTE) == [(Reason.SEEN, ())]
    assert house.look(found(), after=MINUTE) == [(Reason.SEEN, ())]
    assert house.alerts[1].state is State.PENDING
    assert house.look(found(), after=HOUR) == [(Reason.OPENED, ("chat", "mail"))]


def test_what_was_pending_and_is_over_was_never_told():
    house = House(thresholds=(Threshold(failures=2),))
    house.look(found())
    assert house.look(after=DAY) == [(Reason.WITHDRAWN, ())]
    assert house.look(found(), after=DAY) == [(Reason.PENDING, ())]
    assert house.log == []


def test_it_is_over_when_it_was_missed_so_often():
    house = House(thresholds=(Threshold(object="a", passes=2),))
    house.look(found())
    assert house.look(after=HOUR) == [(Reason.SEEN, ())]
    assert house.look(found(), after=HOUR) == [(Reason.SEEN, ())]
    house.look(after=HOUR)
    assert house.look(after=HOUR) == [(Reason.RESOLVED, ("chat", "mail"))]


def test_what_comes_back_soon_is_the_same_alert():
    house = House()
    house.look(found())
    house.look(after=HOUR)
    assert house.look(found(), after=30 * HOUR) == [(Reason.REOPENED, ("chat", "mail"))]
    (alert,) = house.alerts.values()
    assert (alert.id, alert.generation, alert.state) == (1, 2, State.FIRING)


def test_what_comes_back_late_is_another_one():
    house = House()
    house.look(found())
    house.look(after=HOUR)
    assert house.look(found(), after=37 * HOUR)[0][0] is Reason.OPENED
    assert len(house.alerts) == 2


def test_a_weekly_job_may_come_back_in_eight_days():
    finding = Finding(Identity("task_failed", task="vacuum"), Severity.HIGH, "x")
    house = House(periods={"vacuum": 7 * DAY})
    house.look(finding, coverage=())
    house.look(coverage=[Coverage("task_failed", task="vacuum")], after=HOUR)
    assert house.look(finding, coverage=(), after=7 * DAY)[0][0] is Reason.REOPENED


@pytest.mark.parametrize("severity", [Severity.HIGH, Severity.CRITICAL])
def test_a_day_of_flapping_each_minute_is_three_messages(severity):
    house = House()
    for minute in range(24 * 60):
        house.look(*([found(severity=severity)] if minute % 2 == 0 else []), after=MINUTE)
        house.tick()
    reasons = [reason for reason, _ in house.log]
    assert reasons == [Reason.OPENED, Reason.RESOLVED, Reason.FLAPPING]


def test_what_is_there_at_every_other_look_flaps_however_far_apart_they_are():
    house = House()
    reasons = [
        house.look(*([found()] if day % 2 == 0 else []), after=DAY)[0][0] for day in range(5)
    ]
    assert reasons == [
        Reason.OPENED,
        Reason.RESOLVED,
        Reason.REOPENED,
        Reason.RESOLVED,
        Reason.FLAPPING,
    ]


def test_it_flaps_no_more_when_it_was_calm():
    house = House()
    for minute in range(9):
        house.look(*([found()] if minute % 2 == 0 else []), after=MINUTE)
    assert house.look(after=10 * MINUTE) == [(Reason.SEEN, ())]
    house.look(after=HOUR)
    assert house.look(after=MINUTE) == [(Reason.RESOLVED, ("chat", "mail"))]
    assert house.alerts[1].flapping is False


def test_who_says_that_it_is_over_is_believed_though_it_flaps():
    house = House()
    for minute in range(9):
        house.look(*([found()] if minute % 2 == 0 else []), after=MINUTE)
    assert house.look(coverage=[Coverage("orphans", final=True)])[0][0] is Reason.RESOLVED


def silence(matcher, lasting=2 * HOUR):
    return Silence(matcher, "ana", "moving house", START, START + lasting, 1)


def test_a_silence_keeps_quiet_and_what_is_still_so_afterwards_is_told():
    house = House()
    house.silences = (silence(Matcher(object="a")),)
    assert house.look(found(), found("b")) == [
        (Reason.OPENED, ()),
        (Reason.OPENED, ("chat", "mail")),
    ]
    assert "ana" in house.alerts[1].suppressed_by
    assert house.tick(HOUR) == []
    assert house.tick(HOUR) == [(Reason.UNMUTED, ("chat", "mail"))]
    assert house.tick(HOUR) == []


def test_the_end_is_told_in_spite_of_a_silence_but_only_to_who_knew():
    house = House()
    house.look(found())
    house.silences = (silence(Matcher()),)
    house.look(found(), found("b"))
    assert house.look(after=MINUTE) == [(Reason.RESOLVED, ("chat", "mail")), (Reason.RESOLVED, ())]


def test_worse_news_are_kept_back_too_and_told_at_the_end_of_the_silence():
    house = House()
    house.look(found())
    house.silences = (silence(Matcher()),)
    assert house.look(found(severity=Severity.CRITICAL), after=MINUTE) == [(Reason.RAISED, ())]
    assert house.tick(2 * HOUR) == [(Reason.UNMUTED, ("chat", "mail", "ticket"))]


def test_a_maintenance_window_is_a_silence():
    window = silence(Matcher(database="main"))
    house = House(windows=lambda now: (window,) if now < START + HOUR else ())
    assert house.look(found()) == [(Reason.OPENED, ())]
    assert house.tick(HOUR) == [(Reason.UNMUTED, ("chat", "mail"))]


def test_an_unreachable_database_is_the_reason_of_all_that_is_wrong_there():
    house = House()
    lost = Finding(
        Identity(DATABASE_UNREACHABLE.name, database="main"), Severity.CRITICAL, "no answer"
    )
    failed = Finding(Identity("task_failed", database="main", task="vacuum"), Severity.HIGH, "x")
    elsewhere = Finding(
        Identity("task_failed", database="other", task="vacuum"), Severity.HIGH, "x"
    )
    said = house.look(failed, elsewhere, lost, coverage=())
    assert said == [
        (Reason.OPENED, ()),
        (Reason.OPENED, ("chat", "mail")),
        (Reason.OPENED, ("chat", "mail", "ticket")),
    ]
    house.look(coverage=[Coverage(DATABASE_UNREACHABLE.name)], after=MINUTE)
    assert house.tick(MINUTE) == [(Reason.UNMUTED, ("chat", "mail"))]


LADDER = (
    EscalationStep(after=30 * MINUTE, channels=("phone",)),
    EscalationStep(after=2 * HOUR, channels=("boss",)),
)


def test_who_does_not_acknowledge_is_passed_over():
    house = House(escalation_steps=LADDER)
    house.look(found(severity=Severity.CRITICAL), found("b"))
    assert house.tick(29 * MINUTE) == []
    assert house.tick(MINUTE) == [(Reason.ESCALATED, ("phone",))]
    assert house.tick(MINUTE) == []
    house.tick(30 * MINUTE)
    assert house.tick(HOUR)[0] == (Reason.ESCALATED, ("boss",))
    (over, _) = house.look(after=MINUTE)
    assert over == (Reason.RESOLVED, ("chat", "mail", "ticket", "phone", "boss"))


def test_an_acknowledgement_stops_repeats_and_escalation_until_its_end():
    house = House(escalation_steps=LADDER, acknowledging_channels=frozenset({"chat"}))
    house.look(found(severity=Severity.CRITICAL))
    assert house.ack(1, START + 8 * HOUR) == [(Reason.ACKNOWLEDGED, ("chat",))]
    assert house.tick(7 * HOUR) == []
    assert house.tick(HOUR) == [(Reason.UNMUTED, ("chat", "mail", "ticket"))]
    assert house.tick(30 * MINUTE) == [(Reason.ESCALATED, ("phone",))]


def test_what_gets_worse_is_not_acknowledged_any_more():
    house = House()
    house.look(found())
    house.ack(1)
    assert house.look(found(severity=Severity.CRITICAL), after=MINUTE)[0][0] is Reason.RAISED
    assert (house.alerts[1].state, house.alerts[1].acknowledged_by) == (State.FIRING, "")


def test_the_first_rule_that_fits_decides_who_is_told_and_more_is_besides():
    rules = (
        Route(tag="billing", channels=("billing",), continues=True),
        Route(severity=(Severity.HIGH,), check="orph*", channels=("data",), repeat=12 * HOUR),
    )
    house = House(rules=rules, tags={"main": frozenset({"billing"})})
    assert house.look(found(), found("b", Severity.WARNING)) == [
        (Reason.OPENED, ("data", "billing")),
        (Reason.OPENED, ("chat", "billing")),
    ]
    assert house.tick(12 * HOUR) == [(Reason.REPEATED, ("data", "billing"))]


def test_what_can_wait_is_repeated_when_people_are_at_work():
    house = House(hours=Hours.read("mon-fri 08:00-18:00", "America/La_Paz"))
    house.now = datetime(2026, 3, 6, 2, tzinfo=UTC)  # the night to a Friday
    house.look(found(), found("b", Severity.CRITICAL))
    saturday = house.tick(25 * HOUR)
    assert [channels for _, channels in saturday] == [("chat", "mail", "ticket")]
    due = house.alerts[1].next_repeat_at.astimezone(ZoneInfo("America/La_Paz"))
    assert (due.weekday(), due.time()) == (4, time(8)) or due > house.now


@given(
    st.integers(0, 370 * 24 * 60),
    st.sampled_from(["America/La_Paz", "Europe/Berlin", "Pacific/Apia"]),
)
def test_an_opening_is_at_work_and_no_sooner(minutes, zone):
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
def test_hours_that_are_none(text):
    with pytest.raises(ValueError, match="mon-fri"):
        Hours.read(text, "UTC")


def test_times_in_messages_are_in_the_configured_zone():
    policy = Policy(ROUTES, instance="coop", timezone="America/La_Paz")
    (change,) = decide([found()], (), AlertState(()), policy, START)
    message = compose(change, policy, START)
    assert message.local_time(START) == "2026-03-01 22:00 -04"
    assert message.details["first seen"] == "2026-03-01 22:00:00 -04"
    two = [message, replace(message, alert=2)]
    assert combine(two).title == "2 alerts of 2026-03-01"
    assert combine(two).zone == "America/La_Paz"
