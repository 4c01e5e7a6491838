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
