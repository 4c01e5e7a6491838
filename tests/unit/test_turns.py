"""The order of tasks in windows that are too small for all of them."""

from hypothesis import given
from hypothesis import strategies as st

from daemon.scheduling.turns import PastRun, in_turn
from domain.task import Scope, Task

WINDOW = 100.0


def tasks(*jobs):
    return [Task(job, Scope.DATABASE, "main") for job in jobs]


def night(number, order, needs):
    """Return the runs of one window: each job takes what it needs of what is left."""
    left, runs = WINDOW, []
    for task in order:
        need = needs[task.job]
        took = min(left, need)
        left -= took
        runs.append(PastRun(task.job, "database", "main", f"{number:04}", took, need > took))
    return runs


def jobs_with_a_turn(nights, needs):
    """Return, for each window, the jobs that were done or had time."""
    listed, runs, turns = tasks(*needs), [], []
    for number in range(nights):
        tonight = night(number, in_turn(listed, runs), needs)
        runs += tonight
        turns.append({run.job for run in tonight if run.seconds > 0 or not run.unfinished})
    return turns


def test_job_that_takes_every_window_starves_no_other_over_14_windows():
    turns = jobs_with_a_turn(14, {"log_cleanup": 1e9, "archive": 1e9, "integrity_check": 5.0})
    for job in ("log_cleanup", "archive", "integrity_check"):
        assert sum(job in one for one in turns) >= 4


@given(st.lists(st.sampled_from([0.5, 5.0, 60.0, 1e9]), min_size=1, max_size=5))
def test_every_job_has_a_turn_at_least_once_in_as_many_windows_as_there_are_jobs(needs):
    named = {f"job{number}": need for number, need in enumerate(needs)}
    turns = jobs_with_a_turn(14, named)
    for job in named:
        for first in range(14 - len(named)):
            assert any(job in one for one in turns[first : first + len(named) + 1]), (job, turns)


def test_order_of_the_configuration_stands_when_all_were_done():
    order = tasks("c", "a", "b")
    assert in_turn(order, night(1, order, {"a": 1.0, "b": 1.0, "c": 1.0})) == order


def test_new_job_keeps_its_place_and_other_databases_count_apart():
    order = tasks("a", "new", "b")
    runs = night(1, tasks("a", "b"), {"a": 1e9, "b": 5.0})
    assert [task.job for task in in_turn(order, runs)] == ["b", "a", "new"]
    elsewhere = [Task("a", Scope.DATABASE, "other"), Task("b", Scope.DATABASE, "other")]
    assert in_turn(elsewhere, runs) == elsewhere
