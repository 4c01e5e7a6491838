"""Errands as values of JSON, and the signs of life of workers."""

import json
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from daemon.fleet.errand import Errand, from_json
from daemon.fleet.leader import Signs
from daemon.history.fleet import FleetWorker
from domain.task import Scope, Task, Trigger

NOW = datetime(2026, 11, 30, 2, tzinfo=UTC)
FIRST = datetime(1000, 1, 1, tzinfo=UTC).replace(tzinfo=None)
MINUTES = st.datetimes(FIRST).map(lambda moment: moment.replace(second=0, microsecond=0))
ERRANDS = st.builds(
    lambda schedule, nominal, database, jobs, ends_at, seconds: Errand(
        [Task(job, Scope.DATABASE, database, Trigger(schedule, nominal)) for job in jobs],
        ends_at,
        seconds,
    ),
    st.text(min_size=1),
    MINUTES,
    st.text(min_size=1),
    st.lists(st.sampled_from(["analyze", "vacuum", "archive"]), min_size=1, unique=True),
    st.datetimes(timezones=st.just(UTC)),
    st.floats(0, 1e7),
)


@given(ERRANDS)
def test_errand_survives_the_queue(errand):
    assert from_json(json.loads(json.dumps(errand.to_json()))) == errand


def worker(name, seen_at, process="p"):
    return FleetWorker(name, process, "1", 8, "", NOW, seen_at, draining=False)


def test_silence_is_timed_by_the_own_clock():
    seconds, after = [0.0], timedelta(seconds=10)
    signs = Signs(lambda: seconds[0])
    late = NOW - timedelta(hours=5)  # its clock is wrong
    assert not signs.silent([worker("a", late), worker("b", NOW)], after)
    seconds[0] = 9.0
    assert not signs.silent([worker("a", late), worker("b", NOW)], after)
    seconds[0] = 10.0
    moved = NOW + timedelta(seconds=1)
    assert signs.silent([worker("a", late), worker("b", moved)], after) == {"a"}


def test_a_process_that_took_over_a_name_begins_anew():
    seconds, after = [0.0], timedelta(seconds=10)
    signs = Signs(lambda: seconds[0])
    signs.silent([worker("a", NOW)], after)
    seconds[0] = 20.0
    assert not signs.silent([worker("a", NOW, "another")], after)


def test_one_that_has_stopped_is_not_silent():
    seconds = [0.0]
    signs = Signs(lambda: seconds[0])
    signs.silent([worker("a", NOW, "")], timedelta(seconds=10))
    seconds[0] = 60.0
    assert not signs.silent([worker("a", NOW, "")], timedelta(seconds=10))
