"""Stopping the service: SIGTERM during a statement, a second signal, a killed process."""

import os
import signal
import subprocess
import time
from contextlib import contextmanager

import pytest

from tests.e2e.service_process import (
    ANALYZING,
    SLOW_ANALYZE,
    alert_kinds,
    cron_now,
    running_service,
    runs,
    schedule_now,
)


def test_two_schedules_on_one_database_stop_as_fast_as_one(house, wait):
    database = house.database
    database.run(SLOW_ANALYZE)
    house.extra = f'[schedules.other]\ncron = "{cron_now()}"\njobs = ["analyze"]\n'
    schedule_now(house, ["analyze"])
    with running_service(house) as service:
        wait(lambda: database.rows(ANALYZING))
        started = time.monotonic()
        service.send_signal(signal.SIGTERM)
        assert service.wait(10) == 0
        assert time.monotonic() - started < 4


@contextmanager
def stopping_with_unresponsive_backend(house, wait):
    """Suspend the backend during ANALYZE, so that it ignores a cancel; send SIGTERM."""
    database = house.database
    database.run(SLOW_ANALYZE)
    schedule_now(house, ["analyze"])
    with running_service(house) as service:
        (row,) = wait(lambda: database.rows(ANALYZING.replace("FROM", "pid FROM")))
        os.kill(row["pid"], signal.SIGSTOP)
        try:
            service.send_signal(signal.SIGTERM)
            yield service
        finally:
            os.kill(row["pid"], signal.SIGCONT)


def test_second_sigterm_ends_the_service_at_once(house, wait):
    with stopping_with_unresponsive_backend(house, wait) as service:
        with pytest.raises(subprocess.TimeoutExpired):
            service.wait(1.5)
        service.send_signal(signal.SIGTERM)
        assert service.wait(1) == -signal.SIGTERM


def test_unresponsive_server_does_not_delay_the_stop(house, wait):
    with stopping_with_unresponsive_backend(house, wait) as service:
        assert service.wait(10) == 0
    assert [(run["state"], run["reason"]) for run in runs(house)] == [
        ("interrupted", "stopped before the server answered")
    ]


def test_run_of_a_killed_process_raises_an_alert_and_is_resumed(house, wait):
    database = house.database
    database.run(SLOW_ANALYZE)
    schedule_now(house, ["analyze"])
    with running_service(house):
        wait(lambda: database.rows(ANALYZING))
    wait(lambda: not database.rows(ANALYZING), 5, "the end of the statement")
    database.run(
        "CREATE OR REPLACE FUNCTION public.slow(a int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS"
        " $$ BEGIN PERFORM pg_sleep(0.003); RETURN a; END $$"
    )
    with running_service(house):
        wait(lambda: "task_interrupted" in alert_kinds(house), what="the alert")
        wait(lambda: runs(house)[0]["state"] == "finished", what="the resumed run")
        wait(lambda: alert_kinds(house) == [], what="the resolved alert")
    resumed, interrupted = runs(house)
    assert (interrupted["state"], "exited without recording a result" in interrupted["reason"]) == (
        "interrupted",
        True,
    )
    assert resumed["nominal"] == interrupted["nominal"]
