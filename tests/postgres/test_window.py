"""Maintenance window: predicted durations, steps that do not fit, forecast."""

import json
from datetime import datetime

import pytest

from daemon.runs.result import RunState, summarize
from domain.memory import Memory
from execution.control import Stop
from execution.step import Outcome, Status
from execution.window import open_window
from jobs.table_statistics import TableStatistics, seconds_per_byte
from jobs.vacuum import Observation, plan
from tests.postgres.dead_rows import create_dead_rows, throttle_vacuum

MEGABYTE = 1024**2


def create_due_table(database, name, rows=60_000):
    create_dead_rows(database, name, rows)
    database.run("SELECT pg_stat_force_next_flush()")


def store_duration(house, name, seconds, size=3 * MEGABYTE):
    with house.context().store.transaction() as transaction:
        transaction.execute(
            "INSERT INTO object_memory VALUES ('vacuum', 'main', ?, '2026-01-01T00:00:00.000000Z', ?, ?, '{}')",
            (name, seconds, size),
        )


def table_outcomes(run):
    return {
        step["object"]: (step["status"], step["reason"])
        for step in run["steps"]
        if "public" in step["object"]
    }


def test_duration_is_predicted_from_own_history_or_rate_of_other_tables(table):
    memory = {"public.known": Memory(10.0, 100 * MEGABYTE), "public.small": Memory(5.0, 1000)}
    assert seconds_per_byte(memory.values()) == 10.0 / (100 * MEGABYTE)
    statistics = TableStatistics(
        [table("known", dead=200, bytes=200 * MEGABYTE), table("new", dead=200, bytes=50 * MEGABYTE)],
        memory, 180000, seconds_per_byte=seconds_per_byte(memory.values()),
    )  # fmt: skip
    predicted = {step.object: step.predicted_seconds for step in plan(Observation(statistics))}
    assert predicted["public.known"] == pytest.approx(24.0)  # twice the size, plus 20 percent
    assert predicted["public.new"] == pytest.approx(10.0)  # twice the rate


def test_step_longer_than_any_window_is_found_unless_overrun_is_set(house):
    house.with_logins = False
    create_due_table(house.database, "huge")
    create_due_table(house.database, "quick")
    store_duration(house, "public.huge", 100.0)
    store_duration(house, "public.quick", 0.1)
    run = house.run("vacuum", window=open_window(5, 5))
    assert run["state"] == "window_ended"
    assert table_outcomes(run)["public.quick"][0] == "done"
    status, reason = table_outcomes(run)["public.huge"]
    assert (status, reason) == (
        "unfinished",
        "would take about 120 s, longer than any window of 5 s",
    )
    (finding,) = [row for row in run["findings"] if row["kind"] == "window_too_small"]
    assert (finding["object"], finding["severity"]) == ("public.huge", "warning")
    house.extra = "[[jobs.vacuum.tables]]\ntable = 'public.hu*'\noverrun = true\n"
    run = house.run("vacuum", window=open_window(5, 5))
    assert (run["state"], table_outcomes(run)["public.huge"][0]) == ("finished", "done")
    assert json.loads(house.sereno("alerts", "list", "--json").stdout) == []


def test_step_longer_than_rest_of_window_is_unfinished_without_finding(house):
    house.with_logins, house.extra = False, "[jobs.vacuum]\nparallel = 1\n"
    for name in ("one", "two"):
        create_due_table(house.database, name)
        store_duration(house, f"public.{name}", 8.0)
    run = house.run("vacuum", window=open_window(3, 60))
    assert run["state"] == "window_ended"
    assert {status for status, _ in table_outcomes(run).values()} == {"unfinished"}
    assert [row for row in run["findings"] if row["kind"] == "window_too_small"] == []


def test_plan_shows_steps_within_window(house):
    house.with_logins, house.extra = False, "[jobs.vacuum]\nparallel = 1\n"
    for name, seconds in (("one", 10.0), ("two", 30.0), ("three", 8.0)):
        create_due_table(
            house.database, name, rows={"one": 90_000, "two": 60_000, "three": 30_000}[name]
        )
        store_duration(house, f"public.{name}", seconds, size=10**7)
    steps = json.loads(house.sereno("plan", "vacuum", "--window", "30s", "--json").stdout)["steps"]
    assert [(step["object"], step["seconds"], step["in_window"]) for step in steps[:3]] == [
        ("public.one", "12.0", "yes"),
        ("public.two", "36.0", "no"),
        ("public.three", "9.6", "yes"),
    ]
    output = house.sereno("plan", "vacuum", "--window", "30s").stdout
    assert f"In 30s: {len(steps) - 1} of {len(steps)} steps, 1 left" in output
    create_due_table(house.database, "new", rows=120_000)
    output = house.sereno("plan", "vacuum", "--window", "1s").stdout
    assert "1 tried (duration unknown)" in output
    assert house.sereno("plan", "vacuum", "--window", "half", check=False).returncode == 2


class Step:
    name, object = "vacuum", "public.t"

    def __init__(self, seconds):
        self.predicted_seconds = seconds


@pytest.mark.parametrize(
    ("left", "done", "expected"),
    [
        ([30.0, 30.0], [20.0], "3 more nights"),
        ([5.0], [20.0], "1 more night"),
        ([8.0] * 3, [8.0], "3 more nights"),
        ([0.0] * 4, [0.0, 0.0], "2 more nights"),
    ],
)
def test_forecast_of_remaining_nights(left, done, expected):
    outcomes = [(Step(seconds), Outcome(Status.DONE, seconds=seconds / 2)) for seconds in done]
    outcomes += [(Step(seconds), Outcome(Status.UNFINISHED, stop=Stop.WINDOW)) for seconds in left]
    end = summarize(outcomes)
    assert (end.state, end.left) == (RunState.WINDOW_ENDED, len(left))
    assert end.reason.endswith(f"at this rate {expected}")


def test_consecutive_windows_vacuum_each_table_once(house):
    """Twenty seconds of VACUUM in windows of five: no run ends more than a second late."""
    house.with_logins, house.extra = False, "[jobs.vacuum]\nparallel = 1\n"
    names = [f"t{number}" for number in range(6)]
    for name in names:
        create_due_table(house.database, name, 30_000)
    throttle_vacuum(house.database, limit=1)
    done, runs = [], 0
    while runs < 12:
        run = house.run("vacuum", window=open_window(5, 5))
        runs += 1
        began, ended = (datetime.fromisoformat(run[key]) for key in ("started_at", "finished_at"))
        assert (ended - began).total_seconds() < 6
        done += [name for name, (status, _) in table_outcomes(run).items() if status == "done"]
        if run["state"] == "finished":
            break
        assert "more night" in run["reason"]
    assert runs > 2
    assert len(done) == len(set(done)) >= len(names) - 1, (
        "one VACUUM may have been cancelled after all dead rows were removed"
    )
    dead = "SELECT sum(pg_stat_get_dead_tuples(oid)) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    assert house.database.value(dead) == 0
