"""The window: what does not fit is not begun, and is named; what never fits is told; what must be done is done."""

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
from postgres.table_patterns import TableSelection, parse_pattern

MEGABYTE = 1024**2


def dirty(database, name, rows=60_000):
    database.run(f"CREATE TABLE public.{name} (a int) WITH (autovacuum_enabled = off)")
    database.run(f"INSERT INTO public.{name} SELECT generate_series(1, {rows})")
    database.run(f"DELETE FROM public.{name} WHERE a % 2 = 0; SELECT pg_stat_force_next_flush()")


def remember(house, name, seconds, size=3 * MEGABYTE):
    with house.context().store.transaction() as transaction:
        transaction.execute(
            "INSERT INTO object_memory VALUES ('vacuum', 'main', ?, '2026-01-01T00:00:00.000000Z', ?, ?, '{}')",
            (name, seconds, size),
        )


def did(run):
    return {
        step["object"]: (step["status"], step["reason"])
        for step in run["steps"]
        if "public" in step["object"]
    }


def test_predictions_come_from_the_tables_own_history_else_from_the_rate_of_the_others(table):
    memory = {"public.known": Memory(10.0, 100 * MEGABYTE), "public.small": Memory(5.0, 1000)}
    assert seconds_per_byte(memory.values()) == 10.0 / (100 * MEGABYTE)
    seen = TableStatistics(
        [table("known", dead=200, bytes=200 * MEGABYTE), table("new", dead=200, bytes=50 * MEGABYTE)],
        memory, 180000, seconds_per_byte=seconds_per_byte(memory.values()),
    )  # fmt: skip
    predicted = {step.object: step.predicted_seconds for step in plan(Observation(seen))}
    assert predicted["public.known"] == pytest.approx(
        24.0
    )  # twice as large as then, and a fifth for our ignorance
    assert predicted["public.new"] == pytest.approx(10.0)  # twice the rate


def test_one_longer_than_any_window_is_told_once_until_it_may_overrun(house):
    house.with_logins = False
    dirty(house.database, "huge")
    dirty(house.database, "quick")
    remember(house, "public.huge", 100.0)
    remember(house, "public.quick", 0.1)
    run = house.run("vacuum", window=open_window(5, 5))
    assert run["state"] == "window_ended"
    assert did(run)["public.quick"][0] == "done"
    status, reason = did(run)["public.huge"]
    assert (status, reason) == (
        "unfinished",
        "would take about 120 s, longer than any window of 5 s",
    )
    (finding,) = [one for one in run["findings"] if one["kind"] == "window_too_small"]
    assert (finding["object"], finding["severity"]) == ("public.huge", "warning")
    house.extra = "[[jobs.vacuum.tables]]\ntable = 'public.hu*'\noverrun = true\n"
    run = house.run("vacuum", window=open_window(5, 5))
    assert (run["state"], did(run)["public.huge"][0]) == ("finished", "done")
    assert json.loads(house.sereno("alerts", "list", "--json").stdout) == []


def test_what_does_not_fit_what_is_left_waits_and_the_forecast_says_how_long(house):
    house.with_logins, house.extra = False, "[jobs.vacuum]\nparallel = 1\n"
    for name in ("one", "two"):
        dirty(house.database, name)
        remember(house, f"public.{name}", 8.0)
    run = house.run("vacuum", window=open_window(3, 60))
    assert run["state"] == "window_ended"
    assert {status for status, _ in did(run).values()} == {"unfinished"}
    assert [one for one in run["findings"] if one["kind"] == "window_too_small"] == []


def test_the_plan_shows_the_cut(house):
    house.with_logins, house.extra = False, "[jobs.vacuum]\nparallel = 1\n"
    for name, seconds in (("one", 10.0), ("two", 30.0), ("three", 8.0)):
        dirty(house.database, name, rows={"one": 90_000, "two": 60_000, "three": 30_000}[name])
        remember(house, f"public.{name}", seconds, size=10**7)
    steps = json.loads(house.sereno("plan", "vacuum", "--window", "30s", "--json").stdout)["steps"]
    assert [(step["object"], step["seconds"], step["in_window"]) for step in steps[:3]] == [
        ("public.one", "12.0", "yes"),
        ("public.two", "36.0", "no"),
        ("public.three", "9.6", "yes"),
    ]
    said = house.sereno("plan", "vacuum", "--window", "30s").stdout
    assert f"In 30s: {len(steps) - 1} of {len(steps)} steps, 1 left" in said
    dirty(house.database, "new", rows=120_000)
    guessed = house.sereno("plan", "vacuum", "--window", "1s").stdout
    assert "1 tried (duration unknown)" in guessed
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
def test_the_forecast(left, done, expected):
    outcomes = [(Step(seconds), Outcome(Status.DONE, seconds=seconds / 2)) for seconds in done]
    outcomes += [(Step(seconds), Outcome(Status.UNFINISHED, stop=Stop.WINDOW)) for seconds in left]
    end = summarize(outcomes)
    assert (end.state, end.left) == (RunState.WINDOW_ENDED, len(left))
    assert end.reason.endswith(f"at this rate {expected}")


def test_repeated_windows_finish_everything_each_object_once(house):
    """Five seconds at a time over twenty: no night does again what one before has done, none ends a second late."""
    house.with_logins, house.extra = False, "[jobs.vacuum]\nparallel = 1\n"
    names = [f"t{number}" for number in range(6)]
    for name in names:
        dirty(house.database, name, 30_000)
    for name, value in {
        "delay": 10,
        "limit": 1,
        "page_hit": 1,
        "page_miss": 1,
        "page_dirty": 0,
    }.items():
        house.database.run(
            f'ALTER DATABASE "{house.database.name}" SET vacuum_cost_{name} = {value}'
        )
    done, nights = [], 0
    while nights < 12:
        run = house.run("vacuum", window=open_window(5, 5))
        nights += 1
        began, ended = (datetime.fromisoformat(run[key]) for key in ("started_at", "finished_at"))
        assert (ended - began).total_seconds() < 6
        done += [name for name, (status, _) in did(run).items() if status == "done"]
        if run["state"] == "finished":
            break
        assert "more night" in run["reason"]
    assert nights > 2
    assert len(done) == len(set(done)) >= len(names) - 1, (
        "one may have been cut off when all but its end was done"
    )
    dead = "SELECT sum(pg_stat_get_dead_tuples(oid)) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    assert house.database.value(dead) == 0


@pytest.mark.parametrize(
    ("pattern", "meant", "not_meant"),
    [
        ("public.*", ["public.log", 'public."Ä b"'], ["other.log"]),
        ("public.log_?", ["public.log_1"], ["public.log_10", "public.logx1"]),
        ('public."Audit"*', ['public."AuditLog"'], ["public.auditlog"]),
        ("PUBLIC.Log", ["public.log"], ['public."Log"']),
        ('*."a.b*"', ['x."a.b*"'], ['x."a.bc"', "x.a"]),
        ("pub*.log", ["public.log", "pub.log"], ["pu.log"]),
    ],
)
def test_patterns_are_psqls(pattern, meant, not_meant):
    from postgres.identifiers import parse_relation

    chosen = parse_pattern(pattern)
    for text in meant:
        assert chosen.matches(parse_relation(text)), text
        assert not TableSelection(exclude=(chosen,)).includes_table(parse_relation(text))
    for text in not_meant:
        assert not chosen.matches(parse_relation(text)), text
        assert not TableSelection(include=(chosen,)).includes_table(parse_relation(text))


@pytest.mark.parametrize(
    "text", ["log", "a.b.c", "public.", "public.lo g", 'public."log', ".log", "public.log; x"]
)
def test_what_is_no_pattern_is_refused(text):
    with pytest.raises(ValueError, match="is not a table pattern"):
        parse_pattern(text)
