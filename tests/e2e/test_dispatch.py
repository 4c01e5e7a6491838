"""From due times to runs, with a clock that jumps: nothing twice, nothing lost, nothing early."""

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
from daemon.runs.runner import Runner
from daemon.scheduling.dispatcher import Dispatcher
from daemon.scheduling.timer import CalendarTrigger
from daemon.scheduling.timetable import Timing, jitter_share
from domain.calendar import latest, parse_cron
from execution.progress import NoProgress
from store.timestamps import from_text

BERLIN = ZoneInfo("Europe/Berlin")
START = datetime(2026, 3, 27, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Watch:
    """One process, with a clock of ours: files of a folder are all that it cleans, so no server is needed."""

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
def test_what_the_machine_slept_through(make_house, catch_up, late, state):
    watch = Watch(make_house, catch_up)
    watch.now = datetime(2026, 3, 30, 0, 30, tzinfo=UTC) + late  # three nights later
    watch.tick()
    expected = ["2026-03-30T02:30"] if late < 24 * HOUR else ["2026-03-31T02:30"]
    assert [(run["nominal"], run["state"]) for run in watch.runs()] == [(expected[0], state)]
    assert watch.alerts() == (["task_missed"] if state == "skipped" else [])
    watch.now += 24 * HOUR - late + timedelta(seconds=1)
    watch.tick()
    assert (watch.runs()[-1]["state"], watch.alerts()) == ("finished", [])


def test_a_restart_repeats_neither_the_run_nor_the_alert(make_house):
    watch = Watch(make_house)
    watch.now += 3 * 24 * HOUR
    for _ in range(3):
        watch.start()
    assert [run["state"] for run in watch.runs()] == ["skipped"]


ACTIONS = st.one_of(
    st.integers(1, 90).map(lambda minutes: ("wait", timedelta(minutes=minutes))),
    st.integers(-200, 200).map(lambda minutes: ("step", timedelta(minutes=minutes))),
    st.integers(20, 60).map(lambda hours: ("sleep", timedelta(hours=hours))),
    st.just(("restart", timedelta())),
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ACTIONS, min_size=5, max_size=25))
def test_a_clock_that_jumps_doubles_nothing_and_loses_nothing(make_house, actions):
    """Steps either way, a machine that sleeps, restarts: whoever is awake in a window has its run done, once."""
    watch = Watch(make_house)
    cron, owed, began = parse_cron("30 2 * * *"), set(), START
    for action, span in actions:
        if action == "restart":
            watch.start()
        ticks = 12 if action == "wait" else 1
        for _ in range(ticks):
            watch.now += span / ticks
            watch.tick()
            due = latest(cron, BERLIN, watch.now)
            nominal = due.nominal.strftime("%Y-%m-%dT%H:%M")
            over = {
                run["nominal"] for run in watch.runs() if run["state"] == "skipped"
            }  # the clock was beyond it before
            if began <= due.instant and watch.now - due.instant < 2 * HOUR and nominal not in over:
                owed.add(nominal)
    states = Counter((run["nominal"], run["state"]) for run in watch.runs())
    done = {nominal for nominal, state in states if state == "finished"}
    missed = {nominal for nominal, state in states if state == "skipped"}
    assert set(states.values()) <= {1}
    assert not done & missed
    assert owed <= done
    for run in watch.runs():
        due = latest(cron, BERLIN, from_text(run["started_at"]))
        assert due.nominal.strftime("%Y-%m-%dT%H:%M") == run["nominal"]


def test_every_quarter_of_an_hour_and_two_lists_with_the_same_job(make_house):
    watch = Watch(make_house, cron="*/15 2 * * *", window="10m")
    watch.house.write().write_text(
        watch.house.write().read_text()
        + '[schedules.other]\ncron = "0,30 2 * * *"\njobs = ["log_cleanup"]\n'
    )
    watch.start()
    watch.now = datetime(2026, 3, 28, 0, 59, tzinfo=UTC)
    for _ in range(130):
        watch.now += timedelta(minutes=1)
        watch.tick()
        watch.dispatcher.look("other")
        while watch.dispatcher.busy:
            time.sleep(0.002)
    assert [run["nominal"][11:] for run in watch.runs()] == ["02:00", "02:15", "02:30", "02:45"]
    with watch.parts.store.reading() as transaction:
        others = [
            run["nominal"][11:]
            for run in history.load_runs(transaction, 99)
            if run["schedule"] == "other"
        ]
    assert sorted(others) == ["02:00", "02:30"]


def test_several_minutes_inside_one_gap_are_one_run(make_house):
    watch = Watch(make_house, cron="*/15 2 * * *")
    watch.now = datetime(2026, 3, 29, 0, 58, tzinfo=UTC)  # 01:58; 02:00 to 02:59 do not exist
    watch.tick()
    before = len(watch.runs())
    for _ in range(5):
        watch.now += timedelta(minutes=1)
        watch.tick()
    assert [run["nominal"] for run in watch.runs()[before:]] == ["2026-03-29T02:00"]


def test_a_server_that_is_back_after_the_window_ends_its_alert(house, wait):
    """The run has failed, and is over; nobody waits for tomorrow's to say that the server answers again."""
    house.with_logins = False
    good = house.write().read_text()
    house.path.write_text(good.replace("host=", "host=/nowhere"))
    house.write = lambda: house.path
    assert house.run("analyze")["state"] == "failed"
    house.path.write_text(good)
    context = house.context()
    dispatcher = Dispatcher(context, Runner(context, NoProgress()), Heartbeat(list))

    def alerts():
        with context.store.reading() as transaction:
            return [alert.kind for alert in alert_store.load_open(transaction)]

    assert alerts() == ["database_unreachable"]
    dispatcher.probe_unreachable()
    wait(lambda: alerts() == [], what="the end of the alert")


def test_an_interrupted_run_goes_on_though_what_is_missed_is_never_caught_up(make_house):
    watch = Watch(make_house, "never")
    watch.now = datetime(2026, 3, 28, 1, 30, tzinfo=UTC)
    with watch.parts.store.transaction() as transaction:
        task = history.Task(
            "log_cleanup",
            "host",
            "",
            history.Trigger("nightly", datetime(2026, 3, 28, 2, 30)),  # noqa: DTZ001
        )
        history.mark_interrupted(
            transaction, history.begin_run(transaction, task, watch.now), "killed", watch.now
        )
    watch.now += timedelta(minutes=5)
    watch.start()
    assert [run["state"] for run in watch.runs()] == ["interrupted", "finished"]


def test_a_clock_that_was_ahead_at_the_first_look_loses_no_night(make_house):
    watch = Watch(make_house, now=START + timedelta(days=365))
    watch.now = START
    for _ in range(72):
        watch.now += HOUR / 2
        watch.tick()
    assert [run["state"] for run in watch.runs()] == ["finished"]


def test_a_full_disk_is_tried_again_at_the_next_look_and_not_in_between(make_house, monkeypatch):
    from store.store import StoreError

    watch = Watch(make_house)
    watch.now = datetime(2026, 3, 28, 1, 30, tzinfo=UTC)
    tries = []

    def full(*_):
        tries.append(1)
        raise StoreError("database or disk is full")

    monkeypatch.setattr(history, "begin_run", full)
    watch.tick()
    time.sleep(0.3)
    assert len(tries) == 1
    monkeypatch.undo()
    watch.tick()
    assert [run["state"] for run in watch.runs()] == ["finished"]


def test_the_trigger_fires_once_a_day_and_what_was_slept_through_once():
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


def test_the_jitter_is_the_same_every_night_and_spread_over_many():
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
