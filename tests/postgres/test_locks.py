"""The fence: one coordinator, and never a worker of a former one beside its successor."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from postgres.fencing.advisory_locks import Busy, coordinator_lock, take_worker_lock
from postgres.session import Target, open_session

ROOT = Path(__file__).parents[2]


@pytest.fixture
def target(database):
    return Target("main", database.dsn)


def test_one_coordinator_at_a_time_and_the_holder_is_named(target):
    with (
        open_session(target, "maintain", "first") as first,
        open_session(target, "maintain", "second") as second,
    ):
        with coordinator_lock(first, 1):
            with (
                pytest.raises(Busy, match=rf"pid {first.facts.pid} \(sereno/first\)"),
                coordinator_lock(second, 0.3),
            ):
                pass
        with coordinator_lock(second, 1):
            pass


def test_a_successor_waits_for_the_last_worker_of_a_dead_coordinator(target):
    with open_session(target, "maintain", "worker") as worker:
        with open_session(target, "maintain", "dead") as dead, coordinator_lock(dead, 1):
            take_worker_lock(worker)
        with open_session(target, "maintain", "heir") as heir:
            with pytest.raises(Busy, match="sereno/worker"), coordinator_lock(heir, 0.5):
                pass
            worker.close()
            with coordinator_lock(heir, 5), open_session(target, "maintain", "new") as new:
                take_worker_lock(new)


def test_workers_of_one_coordinator_work_side_by_side(target):
    with open_session(target, "maintain", "c") as head, coordinator_lock(head, 1):
        with (
            open_session(target, "maintain", "a") as one,
            open_session(target, "data", "b") as other,
        ):
            take_worker_lock(one)
            take_worker_lock(other)


def test_a_killed_client_leaves_its_statement_and_its_locks_for_seconds_only(
    target, database, wait
):
    """SIGKILL in the middle of a long statement; client_connection_check_interval ends it on the server."""
    program = (
        "import sys\nfrom postgres.session import Target, open_session\nfrom postgres.fencing.advisory_locks import coordinator_lock\n"
        "with open_session(Target('m', sys.argv[1]), 'maintain', 'victim') as s, coordinator_lock(s, 1):\n"
        "    s.set_timeouts(60); s.rows(b'SELECT pg_sleep(50)')\n"
    )
    victim = subprocess.Popen([sys.executable, "-c", program, database.dsn], cwd=ROOT)
    sleeping = "SELECT pid FROM pg_stat_activity WHERE application_name = 'sereno/victim' AND wait_event = 'PgSleep'"
    wait(lambda: database.rows(sleeping), what="the victim's statement")
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait()
    began = time.monotonic()
    with open_session(target, "maintain", "heir") as heir, coordinator_lock(heir, 15):
        pass
    assert time.monotonic() - began < 8
    assert database.rows(sleeping) == []
