"""The fence: one coordinator, and never a worker of a former one beside its successor."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from postgres.fencing.advisory_locks import Busy, coordinator, enlist
from postgres.session import Target, session

ROOT = Path(__file__).parents[2]


@pytest.fixture
def target(database):
    return Target("main", database.dsn)


def test_one_coordinator_at_a_time_and_the_holder_is_named(target):
    with session(target, "maintain", "first") as first, session(target, "maintain", "second") as second:
        with coordinator(first, 1):
            with pytest.raises(Busy, match=rf"pid {first.facts.pid} \(sereno/first\)"), coordinator(second, 0.3):
                pass
        with coordinator(second, 1):
            pass


def test_a_successor_waits_for_the_last_worker_of_a_dead_coordinator(target):
    with session(target, "maintain", "worker") as worker:
        with session(target, "maintain", "dead") as dead, coordinator(dead, 1):
            enlist(worker)
        with session(target, "maintain", "heir") as heir:
            with pytest.raises(Busy, match="sereno/worker"), coordinator(heir, 0.5):
                pass
            worker.close()
            with coordinator(heir, 5), session(target, "maintain", "new") as new:
                enlist(new)


def test_workers_of_one_coordinator_work_side_by_side(target):
    with session(target, "maintain", "c") as head, coordinator(head, 1):
        with session(target, "maintain", "a") as one, session(target, "data", "b") as other:
            enlist(one)
            enlist(other)


def test_a_killed_client_leaves_its_statement_and_its_locks_for_seconds_only(target, database, wait):
    """SIGKILL in the middle of a long statement; client_connection_check_interval ends it on the server."""
    program = (
        "import sys\nfrom postgres.connection import Target, session\nfrom postgres.locks import coordinator\n"
        "with session(Target('m', sys.argv[1]), 'maintain', 'victim') as s, coordinator(s, 1):\n"
        "    s.allow(60); s.rows(b'SELECT pg_sleep(50)')\n"
    )
    victim = subprocess.Popen([sys.executable, "-c", program, database.dsn], cwd=ROOT)
    sleeping = "SELECT pid FROM pg_stat_activity WHERE application_name = 'sereno/victim' AND wait_event = 'PgSleep'"
    wait(lambda: database.rows(sleeping), what="the victim's statement")
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait()
    began = time.monotonic()
    with session(target, "maintain", "heir") as heir, coordinator(heir, 15):
        pass
    assert time.monotonic() - began < 8
    assert database.rows(sleeping) == []
