"""What the heaviest statements did between the last two looks, for the health report."""

from datetime import UTC, datetime, timedelta

from checks.means import LOOK, MOST_SHOWN, compare_means

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
OPTIONS = {"warning": 2, "least_ms": 20}


def look(calls, total, known, hours):
    rows = [{"object": "1", "calls": calls, "value": total, "query": "SELECT 1"}]
    return compare_means(rows, OPTIONS, known, BEGAN + timedelta(hours=hours))[1]


def test_look_has_the_growth_since_the_last_one_also_below_a_hundred_calls():
    known = look(10, 100.0, {}, 0)
    assert LOOK not in known["1"]
    for night in (1, 2, 3):
        known = look(10 + 40 * night, 100.0 + 4000 * night, known, 24 * night)
        assert (known["1"][LOOK]["calls"], known["1"][LOOK]["ms"]) == (40, 4000.0)


def test_look_within_the_hour_changes_nothing():
    known = look(50, 9000.0, look(10, 100.0, {}, 0), 24)
    again = look(51, 9001.0, known, 24.5)
    assert again["1"][LOOK] == known["1"][LOOK]


def test_counters_that_began_anew_have_no_look():
    known = look(50, 9000.0, look(10, 100.0, {}, 0), 24)
    assert LOOK not in look(3, 5.0, known, 48)["1"]


def test_usual_mean_does_not_hold_this_look():
    known = look(300, 3000.0, look(100, 1000.0, {}, 0), 24)
    known = look(500, 23000.0, known, 48)
    assert (known["1"][LOOK]["ms"] / known["1"][LOOK]["calls"], known["1"][LOOK]["usual"]) == (100.0, 10.0)  # fmt: skip


def test_only_the_heaviest_are_kept():
    def many(factor, known, hours):
        rows = [
            {"object": str(n), "calls": 10 * factor, "value": n * 10.0 * factor, "query": ""}
            for n in range(1, 40)
        ]
        return compare_means(rows, OPTIONS, known, BEGAN + timedelta(hours=hours))[1]

    known = many(2, many(1, {}, 0), 24)
    shown = [name for name, one in known.items() if LOOK in one]
    assert sorted(map(int, shown)) == list(range(40 - MOST_SHOWN, 40))
