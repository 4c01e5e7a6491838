"""What a check compares with its last look."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from checks.check import Header, Option
from checks.history import compare
from domain.memory import Memory

NOW = datetime(2026, 11, 29, 2, tzinfo=UTC)
LASTING = Header("unused", "unused", options={"days": Option(35)}, lasting="days")
GROWTH = Header("deadlocks", "deadlocks", per="day")


def looks(header, *rows_by_day, options=None):
    """Return what is found at each look; `rows_by_day` are pairs of a day and its rows."""
    before, told = None, []
    for day, rows in rows_by_day:
        now = NOW + timedelta(days=day)
        found, kept = compare(header, rows, options or {"days": 35}, before, now)
        before = Memory(0.0, 0, kept, now)
        told.append([(row["object"], row["value"]) for row in found])
    return told


def row(value, name="x"):
    return {"object": name, "value": value}


def test_row_is_a_finding_after_it_has_lasted():
    x, y = row(1), row(1, "y")
    told = looks(LASTING, (0, [x]), (34, [x, y]), (35, [x, y]), (36, [y]), (37, [x]), (70, [x, y]))
    assert told == [[], [], [("x", 1)], [], [], []]


def test_days_of_zero_tell_at_once():
    assert looks(LASTING, (0, [row(1)]), options={"days": 0}) == [[("x", 1)]]


REST = {"object": "(more)", "value": None, "summary": "3 more"}


def test_row_that_counts_the_rest_is_always_told():
    """It says that the look was incomplete, so that no alert is resolved."""
    x, y = row(1), row(1, "y")
    told = looks(LASTING, (0, [x, REST]), (20, [y, REST]), (36, [x, y, REST]))
    rest = ("(more)", None)
    assert told == [[rest], [rest], [("x", 1), rest]]  # x was cut at the second look, and lasts
    assert looks(GROWTH, (0, [row(7), REST])) == [[rest]]


def test_counter_that_was_not_seen_is_no_zero():
    told = looks(GROWTH, (0, [row(5000)]), (1, [row(None)]), (2, [row(5004)]))
    assert told == [[], [("x", None)], [("x", 2.0)]]


def test_counter_is_judged_by_its_growth_in_a_day():
    told = looks(GROWTH, (0, [row(100)]), (2, [row(120)]), (2.01, [row(121)]), (3, [row(7)]))
    assert told == [[], [("x", 10.0)], [("x", 24.0)], []]  # minutes count as an hour; begun anew


@given(st.lists(st.tuples(st.floats(0.001, 40), st.integers(0, 10**12)), min_size=2, max_size=9))
def test_growth_is_never_negative_nor_larger_than_an_hour_would_make_it(steps):
    day, value, at = 0.0, 0, []
    for days, more in steps:
        day, value = day + days, value + more
        at.append((day, [row(value)]))
    for found in looks(GROWTH, *at)[1:]:
        ((_, rate),) = found
        assert 0 <= rate <= 24 * value


def test_look_that_was_not_taken_before_keeps_its_counters():
    found, kept = compare(GROWTH, [row(3)], {}, None, NOW)
    assert (found, kept) == ([], {"counters": {"x": (3.0, NOW.isoformat())}})


LEVEL = Header(
    "filling",
    "filling",
    options={name: Option(0) for name in ("days_warning", "days_high", "days_critical")},
    forecast=True,
)
DAYS = {"warning": 0.8, "days_warning": 180, "days_high": 60, "days_critical": 14}


def level(used, limit=1000, name="x"):
    return {"object": name, "value": used / limit, "level": used, "limit": limit}


def forecasts(*levels_by_day):
    """Return severity and text of each look at one level."""
    before, told = None, []
    for day, used in levels_by_day:
        now = NOW + timedelta(days=day)
        (found,), kept = compare(LEVEL, [level(used)], DAYS, before, now)
        before = Memory(0.0, 0, kept, now)
        told.append((found["severity"], found["days_left"]))
    return told


def test_days_left_are_told_from_the_second_day_on():
    assert forecasts((0, 300), (0.5, 310), (1, 310)) == [
        ("none", ""),
        ("none", ""),
        ("warning", "; 69 days left at this pace"),
    ]


def test_worse_of_share_and_days_left_counts():
    assert forecasts((0, 700), (10, 710))[-1] == ("none", "; 290 days left at this pace")
    assert forecasts((0, 700), (1, 740))[-1] == ("critical", "; 6 days left at this pace")
    assert forecasts((0, 700), (10, 850))[-1] == ("critical", "; 10 days left at this pace")
    assert forecasts((0, 850), (10, 850))[-1] == ("warning", "")
    assert forecasts((0, 850), (10, 840))[-1] == ("warning", "")


def test_pace_is_that_of_the_last_week():
    grown = [(day, 100 + 50 * day) for day in range(8)]
    still = [(day, 450) for day in range(8, 16)]
    told = forecasts(*grown, *still)
    assert told[7] == ("critical", "; 11 days left at this pace")
    assert told[-1] == ("none", "")


@given(st.lists(st.tuples(st.floats(0.01, 3), st.floats(0, 1000)), min_size=1, max_size=40))
def test_forecast_keeps_few_samples_in_order(steps):
    before, day = None, 0.0
    for pause, used in steps:
        day += pause
        now = NOW + timedelta(days=day)
        (found,), kept = compare(LEVEL, [level(used)], DAYS, before, now)
        before = Memory(0.0, 0, kept, now)
        samples = kept["levels"]["x"]
        assert len(samples) <= 8
        assert [at for _, at in samples] == sorted(at for _, at in samples)
        assert found["severity"] in {"none", "warning", "high", "critical"}


CHANGES = Header("roles", "roles", options={"days": Option(7)}, changes=("new", "changed", "gone"))


def told_changes(*states_by_day, kinds=None):
    """Return the changes told at each look; `states_by_day` are pairs of a day and its states."""
    header = CHANGES if kinds is None else Header("r", "r", options={}, changes=kinds)
    before, told = None, []
    for day, states in states_by_day:
        now = NOW + timedelta(days=day)
        rows = [{"object": name, "value": 1, "state": state} for name, state in states.items()]
        found, kept = compare(header, rows, {"days": 7}, before, now)
        before = Memory(0.0, 0, kept, now)
        told.append(sorted(f"{row['object']} {row['what']}" for row in found))
    return told


def test_what_was_there_at_the_first_look_is_not_new():
    assert told_changes((0, {"a": "1"}), (1, {"a": "1"})) == [[], []]


def test_change_is_told_for_its_days():
    looks = [(0, {"a": "1"}), (1, {"a": "2"}), (7.9, {"a": "2"}), (8, {"a": "2"}), (9, {"a": "1"})]
    assert told_changes(*looks) == [
        [],
        ["a changed: 1 → 2"],
        ["a changed: 1 → 2"],
        [],
        ["a changed: 2 → 1"],
    ]


def test_new_and_gone_objects_are_told():
    looks = [(0, {"a": "1"}), (1, {"a": "1"}), (2, {"b": "5"}), (3, {"a": "1", "b": "5"})]
    assert told_changes(*looks, (20, {"b": "5"})) == [
        [],
        [],
        ["a gone: 1", "b new: 5"],
        ["b new: 5"],  # a is back
        ["a gone: 1"],
    ]


def test_object_that_was_there_for_hours_is_not_missed():
    assert told_changes((0, {}), (0.1, {"clone": "x"}), (0.5, {}), kinds=("gone",)) == [[], [], []]
    assert told_changes((0, {}), (1, {"clone": "x"}), (2.1, {}), kinds=("gone",)) == [[], [], []]


def test_only_the_wanted_kinds_are_told():
    looks = [(0, {"a": "1", "c": "1"}), (1, {"a": "1", "c": "1"}), (2, {"b": "1", "c": "2"})]
    assert told_changes(*looks, kinds=("gone",))[-1] == ["a gone: 1"]
    assert told_changes(*looks, kinds=("changed",))[-1] == ["c changed: 1 → 2"]
    assert told_changes(*looks, kinds=("new",))[-1] == ["b new: 1"]


def test_objects_that_were_not_read_are_not_missed():
    first, kept = compare(
        CHANGES, [{"object": "a", "value": 1, "state": ""}], {"days": 7}, None, NOW
    )
    assert first == []
    later = NOW + timedelta(days=2)
    found, kept = compare(CHANGES, [REST], {"days": 7}, Memory(0.0, 0, kept, NOW), later)
    assert found == [REST]
    assert "a" in kept["known"]


def test_end_of_a_long_state_counts():
    long = "member of a, " * 30
    told = told_changes((0, {"a": long + "x"}), (1, {"a": long + "y"}), kinds=("changed",))
    assert [len(one) for one in told] == [0, 1]


def test_clock_that_was_ahead_once_hides_nothing():
    told = told_changes(
        (0, {}), (365, {"a": "1"}), (2, {"a": "1"}), (8, {"a": "1"}), (10, {"a": "1"})
    )
    assert [len(one) for one in told] == [0, 1, 1, 1, 0]
    assert looks(GROWTH, (30, [row(100)]), (0, [row(100)]), (1, [row(104)]))[-1] == [("x", 4.0)]


def test_level_that_is_not_followed_any_more_begins_anew():
    first = level(100)
    _, kept = compare(LEVEL, [first], DAYS, None, NOW)
    pause = {**level(90), "level": None}
    later = NOW + timedelta(days=3)
    _, kept = compare(LEVEL, [pause], DAYS, Memory(0.0, 0, kept, NOW), later)
    assert kept == {"levels": {}}
    unseen = {"object": "x", "value": None, "level": None, "summary": "not checked"}
    _, before = compare(LEVEL, [first], DAYS, None, NOW)
    _, kept = compare(LEVEL, [unseen], DAYS, Memory(0.0, 0, before, NOW), later)
    assert kept["levels"].keys() == {"x"}


def test_looks_of_several_logins_are_kept_as_one():
    from checks.history import merged

    old, new = [[1.0, "2026-11-01"]], [[1.0, "2026-11-01"], [2.0, "2026-11-02"]]
    one, other = {"levels": {"a": old, "b": new}}, {"levels": {"a": new, "b": old, "c": old}}
    assert merged([one, other]) == {"levels": {"a": new, "b": new, "c": old}}
    assert merged([]) == {}
