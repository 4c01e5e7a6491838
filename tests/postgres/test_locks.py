"""Advisory locks: one coordinator, and no worker of a previous one beside it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from postgres.fencing.advisory_locks import Busy, coordinator_lock, take_worker_lock
from postgres.session import MAINTAIN, Login, Target, open_session

ROOT = Path(__file__).parents[2]


@pytest.fixture
def target(database):
    return Target("main", database.dsn)


def test_second_coordinator_is_refused_and_holder_is_named(target):
    with (
        open_session(target, MAINTAIN, "first") as first,
        open_session(target, MAINTAIN, "second") as second,
    ):
        with coordinator_lock(first, 1):
            with (
                pytest.raises(Busy, match=rf"pid {first.facts.pid} \(sereno/first\)"),
                coordinator_lock(second, 0.3),
            ):
                pass
        with coordinator_lock(second, 1):
            pass


def test_new_coordinator_waits_for_last_worker_of_previous_one(target):
    with open_session(target, MAINTAIN, "worker") as worker:
        with open_session(target, MAINTAIN, "dead") as dead, coordinator_lock(dead, 1):
            take_worker_lock(worker)
        with open_session(target, MAINTAIN, "successor") as successor:
            with pytest.raises(Busy, match="sereno/worker"), coordinator_lock(successor, 0.5):
                pass
            worker.close()
            with coordinator_lock(successor, 5), open_session(target, MAINTAIN, "new") as new:
                take_worker_lock(new)


def test_workers_of_one_coordinator_share_lock(target):
    with open_session(target, MAINTAIN, "c") as coordinator, coordinator_lock(coordinator, 1):
        with (
            open_session(target, MAINTAIN, "a") as one,
            open_session(target, Login("data"), "b") as other,
        ):
            take_worker_lock(one)
            take_worker_lock(other)


def test_locks_of_killed_client_are_released_within_seconds(target, database, wait):
    """SIGKILL during a long statement: client_connection_check_interval ends it on the server."""
    program = (
        "import sys\nfrom postgres.session import Login, Target, open_session\nfrom postgres.fencing.advisory_locks import coordinator_lock\n"
        "with open_session(Target('m', sys.argv[1]), Login(), 'client') as s, coordinator_lock(s, 1):\n"
        "    s.set_timeouts(60); s.rows(b'SELECT pg_sleep(50)')\n"
    )
    client = subprocess.Popen([sys.executable, "-c", program, database.dsn], cwd=ROOT)
    sleeping = "SELECT pid FROM pg_stat_activity WHERE application_name = 'sereno/client' AND wait_event = 'PgSleep'"
    wait(lambda: database.rows(sleeping), what="the statement of the client")
    os.kill(client.pid, signal.SIGKILL)
    client.wait()
    began = time.monotonic()
    with (
        open_session(target, MAINTAIN, "successor") as successor,
        coordinator_lock(successor, 15),
    ):
        pass
    assert time.monotonic() - began < 8
    assert database.rows(sleeping) == []


def test_lock_held_by_a_foreign_login_fails_the_run_and_names_the_session(house):
    house.install()
    role = f"stranger_{house.database.name[-8:]}"
    house.database.run(f"CREATE ROLE {role} LOGIN")
    try:
        with house.database.connect(autocommit=True, user=role) as stranger:
            stranger.execute("SELECT pg_advisory_lock(1936028270, 1)")
            run = house.run("analyze")
            pid = stranger.info.backend_pid
        assert (run["state"], run["cause"]) == ("failed", "foreign_lock_holder")
        assert f"{role} (pid {pid}, no name) holds the lock of sereno" in run["reason"]
        assert f"pg_terminate_backend({pid})" in run["reason"]
        assert house.run("analyze")["state"] == "finished"
    finally:
        house.database.run(f"DROP ROLE {role}")


def test_lock_held_by_another_instance_makes_the_run_busy(house):
    house.install()
    with house.database.connect(autocommit=True, user=house.maintain) as other:
        other.execute("SELECT pg_advisory_lock(1936028270, 1)")
        run = house.run("analyze")
    assert (run["state"], run["cause"]) == ("skipped", "busy")
