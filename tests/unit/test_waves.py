"""Waves: every database in one of them, in order, of the sizes that were asked for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.scheduling.waves import WaveResult, count_of, failure_of, in_waves

SIZES = st.lists(
    st.one_of(st.integers(1, 30).map(str), st.integers(1, 100).map("{}%".format), st.just("*")),
    max_size=5,
)


@given(st.lists(st.text(max_size=3), unique=True, max_size=60), SIZES)
def test_every_database_is_in_one_wave_in_its_order(databases, sizes):
    waves = in_waves(databases, sizes)
    assert [name for wave in waves for name in wave] == databases
    assert all(waves)
    for wave, size in zip(waves, [*sizes, "*"], strict=False):
        assert len(wave) <= max(1, count_of(size, len(databases)))


def test_waves_of_a_thousand_databases_have_the_sizes_asked_for():
    names = [str(number) for number in range(1000)]
    assert [len(wave) for wave in in_waves(names, ["3", "5%", "*"])] == [3, 50, 947]
    assert [len(wave) for wave in in_waves(names, ["10%"])] == [100, 900]
    assert [len(wave) for wave in in_waves(names, [])] == [1000]
    assert in_waves([], ["3"]) == []


@pytest.mark.parametrize(
    ("result", "failed", "stops"),
    [
        (WaveResult(3, 1, 0), "1", True),
        (WaveResult(3, 1, 0), "2", False),
        (WaveResult(50, 1, 0), "2%", True),
        (WaveResult(200, 3, 0), "2%", False),
        (WaveResult(200, 4, 0), "2%", True),
        (WaveResult(3, 0, 0), "1%", False),
        (WaveResult(3, 0, 2), "3", True),
        (WaveResult(3, 0, 1), "3", False),
    ],
)
def test_next_wave_depends_on_failures_and_critical_alerts(result, failed, stops):
    assert bool(failure_of(result, failed, 2)) is stops
