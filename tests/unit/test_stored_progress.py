"""The progress of a requested run in the store."""

import time
from contextlib import ExitStack
from datetime import UTC, datetime

import pytest

from daemon.history import history, migrating
from daemon.history.worker import this_worker
from daemon.runs.recovery import LIVE_RUNS, is_alive
from daemon.runs.stored_progress import StoredProgress
from domain.progress import LockTry, StepProgress
from domain.task import Request, Scope, Task
from execution.progress import NoProgress
from store.opening import open_store
from store.timestamps import to_text

pytestmark = pytest.mark.usefixtures("any_state")


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path / "state.db")


@pytest.fixture
def run(store):
    asked = Request("0001_x", "ana", "", None, "run-1", "apply")
    with store.transaction() as transaction:
        return history.begin_run(
            transaction, Task("migrate", Scope.DATABASE, "main", request=asked), datetime.now(UTC)
        )


def stored(store, run, report):
    with StoredProgress(store, lambda: datetime.now(UTC), run, NoProgress()) as progress:
        report(progress)
    with store.reading() as transaction:
        return migrating.latest_progress(transaction, "0001_x")


def test_rows_of_earlier_runs_do_not_count_as_speed(store, run):
    def report(progress):
        progress.begin(3, 9, "fill data.10_a.batch.sql")
        for count in (1_000_500, 1_001_000, 1_001_500):
            time.sleep(0.05)
            progress.advance(3, StepProgress(count, 2_000_000, batch=500))

    row = stored(store, run, report)
    assert (row["done"], row["total"], row["batch"]) == (1_001_500, 2_000_000, 500)
    assert 100 < row["rate"] < 10_500


def test_statements_are_no_rows_and_those_of_the_batches_stay(store, run):
    def report(progress):
        progress.begin(1, 3, "fill data.10_a.batch.sql")
        progress.advance(1, StepProgress(200, 200, batch=100))
        progress.end(1, "done", "")
        progress.begin(2, 3, "apply tighten.20.notx.sql")
        progress.advance(2, StepProgress(3, 4))

    row = stored(store, run, report)
    assert (row["done"], row["total"], row["step"]) == (200, 200, "apply tighten.20.notx.sql")


def test_waits_and_tries_are_added_up(store, run):
    def report(progress):
        progress.begin(1, 1, "apply cleanup.sql")
        progress.locking(1, LockTry(100))
        progress.locking(1, LockTry(blockers=("pid 7 (app) holds t",)))
        progress.hold(1, "pid 7 (app) holds t")
        time.sleep(0.2)
        progress.locking(1, LockTry(200))
        progress.end(1, "done", "")

    row = stored(store, run, report)
    assert (row["attempts"], row["rung_ms"], row["reason"]) == (2, 200, "")
    assert 0.15 < row["throttled_seconds"] < 5, "also the wait that the end of the step ends"


def test_locked_state_holds_no_step_up(store, run):
    """The steps report while they hold locks in the database."""
    with ExitStack() as other:
        other.enter_context(store.transaction())
        with StoredProgress(store, lambda: datetime.now(UTC), run, NoProgress()) as progress:
            began = time.monotonic()
            for count in range(100):
                progress.advance(1, StepProgress(count, 100, batch=1))
                progress.locking(1, LockTry(100))
            assert time.monotonic() - began < 1
            other.close()
    with store.reading() as transaction:
        assert migrating.latest_progress(transaction, "0001_x")["done"] == 99


def test_run_of_this_process_is_alive_only_while_it_runs(run):
    """A service in a container has the same number after each start."""
    row = {"worker": str(this_worker()), "started_at": to_text(datetime.now(UTC))}
    assert not is_alive(run, row)
    LIVE_RUNS.add(run)
    try:
        assert is_alive(run, row)
    finally:
        LIVE_RUNS.discard(run)
