"""The dispatcher: due times, catch-up, clock changes, daylight saving gaps, jitter."""

import tempfile
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alerts import alert_store
from alerts.heartbeat import Heartbeat
from daemon.history import history
from daemon.runs.recorder import Recorder
from daemon.runs.recovery import LIVE_RUNS
from daemon.runs.runner import Runner
from daemon.scheduling.dispatcher import Dispatcher
from daemon.scheduling.timer import CalendarTrigger
from daemon.scheduling.timetable import Timing, jitter_share
from domain.calendar import latest, parse_cron
from domain.task import Scope, Task
from execution.progress import NoProgress
from store.timestamps import from_text

BERLIN = ZoneInfo("Europe/Berlin")
START = datetime(2026, 3, 27, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Service:
    """A dispatcher with a clock that the test sets; its job deletes files and needs no server."""

    def __init__(self, make_house, catch_up="in_window", cron="30 2 * * *", window="2h", now=START):
        self.folder = Path(tempfile.mkdtemp(prefix="sereno-test-"))
        house = make_house(
            self.folder,
            SimpleNamespace(cluster=SimpleNamespace(socket="/nowhere", port=1), name="x"),
        )
        house.with_logins = False
        house.extra = f"""[schedules.nightly]
cron = "{cron}"
window = "{window}"
catch_up = "{catch_up}"
jobs = ["log_cleanup"]
[[jobs.log_cleanup.files]]
path = "{self.folder}/*.log"
keep = "30 days"
"""
        path = house.write()
        text = path.read_text().replace("America/La_Paz", "Europe/Berlin")
        path.write_text(
            text.replace(
                '["log_cleanup", "analyze", "disk_check", "integrity_check"]', '["analyze"]'
            )
        )
        house.write = lambda: path
        self.house = house
        self.now = now
        self.start()

    def start(self):
        self.parts = replace(self.house.context(), clock=lambda: self.now)
        self.runner = Runner(self.parts, NoProgress())
        self.dispatcher = Dispatcher(self.parts, self.runner, Heartbeat(list))
        self.tick()

    def tick(self):
        self.dispatcher.look("nightly")
        while self.dispatcher.busy:
            time.sleep(0.002)

    def runs(self):
        with self.parts.store.reading() as transaction:
            return [
                row
                for row in reversed(history.load_runs(transaction, 1000))
                if row["schedule"] == "nightly"
            ]

    def alerts(self):
        with self.parts.store.reading() as transaction:
            return [alert.kind for alert in alert_store.load_open(transaction)]


@pytest.mark.parametrize(
    ("catch_up", "late", "state"),
    [
        ("in_window", HOUR, "finished"),
        ("in_window", 3 * HOUR, "skipped"),
        ("always", 30 * HOUR, "finished"),
        ("never", HOUR, "skipped"),
    ],
)
def test_missed_run_is_caught_up_or_skipped_by_policy(make_house, catch_up, late, state):
    service = Service(make_house, catch_up)
    service.now = datetime(2026, 3, 30, 0, 30, tzinfo=UTC) + late
    service.tick()
    expected = ["2026-03-30T02:30"] if late < 24 * HOUR else ["2026-03-31T02:30"]
    assert [(run["nominal"], run["state"]) for run in service.runs()] == [(expected[0], state)]
    assert service.alerts() == (["task_missed"] if state == "skipped" else [])
    service.now += 24 * HOUR - late + timedelta(seconds=1)
    service.tick()
    assert (service.runs()[-1]["state"], service.alerts()) == ("finished", [])


def test_restart_records_a_missed_run_once(make_house):
    service = Service(make_house)
    service.now += 3 * 24 * HOUR
    for _ in range(3):
        service.start()
    assert [run["state"] for run in service.runs()] == ["skipped"]


ACTIONS = st.one_of(
    st.integers(1, 90).map(lambda minutes: ("wait", timedelta(minutes=minutes))),
    st.integers(-200, 200).map(lambda minutes: ("step", timedelta(minutes=minutes))),
    st.integers(20, 60).map(lambda hours: ("sleep", timedelta(hours=hours))),
    st.just(("restart", timedelta())),
)


def apply_actions(service, actions):
    """Apply clock changes and restarts; return the nominal times whose window the service saw."""
    cron, expected = parse_cron("30 2 * * *"), set()
    for action, span in actions:
        if action == "restart":
            service.start()
        ticks = 12 if action == "wait" else 1
        for _ in range(ticks):
            service.now += span / ticks
            service.tick()
            due = latest(cron, BERLIN, service.now)
            nominal = due.nominal.strftime("%Y-%m-%dT%H:%M")
            # Skipped before the clock was set back.
            skipped = nominal in nominal_times(service, "skipped")
            in_window = due.instant >= START and service.now - due.instant < 2 * HOUR
            if in_window and not skipped:
                expected.add(nominal)
    return expected


def nominal_times(service, state):
    return {run["nominal"] for run in service.runs() if run["state"] == state}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ACTIONS, min_size=5, max_size=25))
def test_clock_changes_neither_repeat_nor_lose_a_run(make_house, actions):
    """Clock steps, suspends, restarts: a service awake in a window runs the job exactly once."""
    service = Service(make_house)
    expected = apply_actions(service, actions)
    states = Counter((run["nominal"], run["state"]) for run in service.runs())
    assert set(states.values()) <= {1}
    done = nominal_times(service, "finished")
    assert not done & nominal_times(service, "skipped")
    assert expected <= done
    cron = parse_cron("30 2 * * *")
    for run in service.runs():
        due = latest(cron, BERLIN, from_text(run["started_at"]))
        assert due.nominal.strftime("%Y-%m-%dT%H:%M") == run["nominal"]


def test_two_schedules_run_the_same_job_at_their_own_times(make_house):
    service = Service(make_house, cron="*/15 2 * * *", window="10m")
    service.house.write().write_text(
        service.house.write().read_text()
        + '[schedules.other]\ncron = "0,30 2 * * *"\njobs = ["log_cleanup"]\n'
    )
    service.start()
    service.now = datetime(2026, 3, 28, 0, 59, tzinfo=UTC)
    for _ in range(130):
        service.now += timedelta(minutes=1)
        service.tick()
        service.dispatcher.look("other")
        while service.dispatcher.busy:
            time.sleep(0.002)
    assert [run["nominal"][11:] for run in service.runs()] == ["02:00", "02:15", "02:30", "02:45"]
    with service.parts.store.reading() as transaction:
        other_runs = [
            run["nominal"][11:]
            for run in history.load_runs(transaction, 99)
            if run["schedule"] == "other"
        ]
    assert sorted(other_runs) == ["02:00", "02:30"]


def test_due_times_inside_a_daylight_saving_gap_are_one_run(make_house):
    service = Service(make_house, cron="*/15 2 * * *")
    service.now = datetime(2026, 3, 29, 0, 58, tzinfo=UTC)  # 01:58; 02:00 to 02:59 do not exist
    service.tick()
    before = len(service.runs())
    for _ in range(5):
        service.now += timedelta(minutes=1)
        service.tick()
    assert [run["nominal"] for run in service.runs()[before:]] == ["2026-03-29T02:00"]


def test_interrupted_run_is_resumed_with_catch_up_never(make_house):
    service = Service(make_house, "never")
    service.now = datetime(2026, 3, 28, 1, 30, tzinfo=UTC)
    with service.parts.store.transaction() as transaction:
        task = history.Task(
            "log_cleanup",
            "host",
            "",
            history.Trigger("nightly", datetime(2026, 3, 28, 2, 30)),  # noqa: DTZ001
        )
        history.mark_interrupted(
            transaction, history.begin_run(transaction, task, service.now), "killed", service.now
        )
    service.now += timedelta(minutes=5)
    service.start()
    assert [run["state"] for run in service.runs()] == ["interrupted", "finished"]


def test_clock_set_back_after_the_first_tick_loses_no_run(make_house):
    service = Service(make_house, now=START + timedelta(days=365))
    service.now = START
    for _ in range(72):
        service.now += HOUR / 2
        service.tick()
    assert [run["state"] for run in service.runs()] == ["finished"]


def test_run_that_cannot_be_recorded_is_retried_at_the_next_tick_only(make_house, monkeypatch):
    from store.store import StoreError

    service = Service(make_house)
    service.now = datetime(2026, 3, 28, 1, 30, tzinfo=UTC)
    attempts = []

    def raise_disk_full(*_):
        attempts.append(1)
        raise StoreError("database or disk is full")

    monkeypatch.setattr(history, "begin_run", raise_disk_full)
    service.tick()
    time.sleep(0.3)
    assert len(attempts) == 1
    monkeypatch.undo()
    service.tick()
    assert [run["state"] for run in service.runs()] == ["finished"]


def test_run_whose_end_could_not_be_recorded_is_an_alert_when_the_file_works_again(house):
    house.with_logins = False
    house.extra = '[channels.log]\ntype = "log"\n[routes]\nhigh = ["log"]\n'
    context = house.context()
    lost = Recorder(context, Task("analyze", Scope.DATABASE, "main")).number
    LIVE_RUNS.discard(lost)  # it has ended
    run = house.run("analyze", context=context)
    assert run["state"] == "finished"
    with context.store.reading() as transaction:
        assert history.load_run(transaction, lost)["state"] == "interrupted"
        rows = transaction.rows("SELECT kind, state, summary FROM alert")
        told = [
            row["reason"]
            for row in transaction.rows("SELECT reason FROM notification ORDER BY rowid")
        ]
    assert [(row["kind"], row["state"]) for row in rows] == [("task_interrupted", "resolved")]
    assert (
        rows[0]["summary"] == f"run {lost}: its end could not be recorded; the run will be retried"
    )
    assert told == ["opened", "resolved"]


def test_run_of_the_same_task_that_goes_on_is_left_alone(house):
    context = house.context()
    live = Recorder(context, Task("analyze", Scope.DATABASE, "main")).number
    try:
        LIVE_RUNS.discard(Recorder(context, Task("analyze", Scope.DATABASE, "main")).number)
        with context.store.reading() as transaction:
            assert history.load_run(transaction, live)["state"] == "running"
            assert alert_store.load_open(transaction) == []
    finally:
        LIVE_RUNS.discard(live)


def test_calendar_trigger_fires_once_a_day_and_once_after_a_suspend():
    trigger = CalendarTrigger(Timing(parse_cron("30 2 * * *"), BERLIN))
    fires, now = [], START
    at = trigger.get_next_fire_time(None, now)
    while len(fires) < 400:
        now = at
        fires.append(at)
        at = trigger.get_next_fire_time(at, now)
    assert len({fire.astimezone(BERLIN).date() for fire in fires}) == 400
    late = fires[-1] + timedelta(days=5, hours=1)
    assert late < trigger.get_next_fire_time(fires[-1], late) <= late + timedelta(days=1)


def test_jitter_is_constant_per_schedule_and_evenly_distributed():
    shares = [jitter_share(f"coop-{number} daily", timedelta(minutes=10)) for number in range(400)]
    assert shares == [
        jitter_share(f"coop-{number} daily", timedelta(minutes=10)) for number in range(400)
    ]
    assert all(timedelta() <= one < timedelta(minutes=10) for one in shares)
    assert 240 < sum(one.total_seconds() for one in shares) / 400 < 360
    timing = Timing(parse_cron("30 2 * * *"), BERLIN, timedelta(minutes=7))
    due = next(timing.upcoming(START))
    assert (f"{due.instant:%H:%M}", f"{due.nominal:%H:%M}") == ("01:37", "02:30")
    assert timing.latest(due.instant - timedelta(seconds=1)) != due == timing.latest(due.instant)
