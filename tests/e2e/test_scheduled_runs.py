"""`sereno run`: runs start at the due time, stop within seconds, resume, and are caught up."""

import json
import signal
import subprocess
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from daemon.history.worker import _worker as worker_of
from daemon.runs.recovery import recover_interrupted_runs
from store.timestamps import to_text
from tests.e2e.service_process import DAILY_CRON, DAILY_JOBS, LA_PAZ

SLOW_FUNCTION = """
    CREATE OR REPLACE FUNCTION public.slow(a int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
      $$ BEGIN PERFORM pg_sleep(0.02); RETURN a; END $$
"""
FAST_FUNCTION = """
    CREATE OR REPLACE FUNCTION public.slow(a int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a'
"""
ANALYZING = """
    SELECT p.pid, a.application_name FROM pg_stat_progress_analyze p
    JOIN pg_stat_activity a USING (pid) WHERE p.datname = current_database()
"""
VACUUMING = """
    SELECT p.pid, a.application_name AS name FROM pg_stat_progress_vacuum p
    JOIN pg_stat_activity a USING (pid)
    WHERE p.datname = current_database() AND p.heap_blks_scanned > 0
"""
PLANNED_LONG_AGO = "INSERT INTO instance VALUES (?, '2026-01-01T00:00:00.000000Z')"


def schedule_at(house, due, jobs=("analyze", "integrity_check")):
    """Schedule jobs daily at a time in UTC; return the time in the zone of the configuration."""
    local = due + LA_PAZ
    path = house.write()
    path.write_text(
        path.read_text()
        .replace(DAILY_CRON, f'cron = "{local.minute} {local.hour} * * *"')
        .replace(f"jobs = {DAILY_JOBS}", f"jobs = {json.dumps(jobs)}")
    )
    house.write = lambda: path
    return local


def mark_planned_long_ago(house, local, *jobs):
    with house.context().store.transaction() as transaction:
        for job in jobs:
            name = f"planned daily {local.minute} {local.hour} * * * {job} main"
            transaction.execute(PLANNED_LONG_AGO, (name,))


def query(house, *arguments):
    return json.loads(house.sereno(*arguments, "--json").stdout)


def runs(house, job="analyze"):
    return [run for run in query(house, "history") if run["job"] == job]


def finished_runs(house, job="analyze"):
    return [run for run in runs(house, job) if run["state"] == "finished"]


def steps(house, run):
    return query(house, "history", str(run["id"]))["steps"]


@contextmanager
def running(house):
    """Run the service; stop it by SIGTERM."""
    service = house.start("run")
    yield service
    service.send_signal(signal.SIGTERM)
    assert service.wait(10) == 0
    service.stdout.close()


def stop_within_two_seconds(service, database, wait, pids):
    """Stop the service by SIGTERM; its backends have to end within two seconds."""
    service.send_signal(signal.SIGTERM)
    backends = "SELECT FROM pg_stat_activity WHERE pid = ANY (%s)"
    wait(lambda: not database.rows(backends, pids), 2, "the end of the backends")
    assert service.wait(10) == 0
    output = service.stdout.read()
    service.stdout.close()
    assert "Traceback" not in output, output


def create_table_with_slow_analyze(database):
    with database.connect(autocommit=True) as session:
        session.execute("SET session_replication_role = replica")
        session.execute(SLOW_FUNCTION)
        session.execute("CREATE TABLE public.t (a int)")
        session.execute("CREATE INDEX ON public.t (public.slow(a))")
        session.execute("ALTER TABLE public.t SET (autovacuum_enabled = off)")
        session.execute(FAST_FUNCTION)
        session.execute("INSERT INTO public.t SELECT generate_series(1, 3000)")
        session.execute(SLOW_FUNCTION)


def next_minute():
    """Return the next full minute that is at least four seconds ahead."""
    due = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
    if (due - datetime.now(UTC)).total_seconds() < 4:
        due += timedelta(minutes=1)
    return due


def test_run_starts_when_due_stops_on_sigterm_and_is_resumed(house, wait):
    database = house.database
    create_table_with_slow_analyze(database)
    house.with_logins = False
    due = next_minute()
    nominal = schedule_at(house, due).strftime("%Y-%m-%dT%H:%M")
    service = house.start("run")
    (row,) = wait(lambda: database.rows(ANALYZING), 75, "ANALYZE at the due minute")
    assert row["application_name"] == "sereno/analyze"
    assert due <= datetime.now(UTC) < due + timedelta(seconds=10)

    stop_within_two_seconds(service, database, wait, [row["pid"]])
    assert [(run["state"], run["nominal"]) for run in runs(house)] == [("interrupted", nominal)]
    assert runs(house, "integrity_check") == []
    sessions = "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'sereno/%%'"
    assert database.rows(sessions) == []

    database.run(FAST_FUNCTION)
    with running(house):
        rest = wait(lambda: finished_runs(house, "integrity_check"), 20, "the remaining jobs")
    assert rest[0]["nominal"] == nominal
    assert [(run["state"], run["nominal"]) for run in runs(house)] == [
        ("finished", nominal),
        ("interrupted", nominal),
    ]
    assert steps(house, runs(house)[0])[0]["status"] == "done"


def create_tables_with_slow_vacuum(database):
    for number in range(2):
        database.run(f"CREATE TABLE public.t{number} (a int) WITH (autovacuum_enabled = off)")
        database.run(f"INSERT INTO public.t{number} SELECT generate_series(1, 400000)")
        database.run(f"DELETE FROM public.t{number} WHERE a % 2 = 0")
    costs = {"delay": 10, "limit": 1, "page_hit": 1, "page_miss": 1, "page_dirty": 0}
    for name, value in costs.items():
        database.run(f'ALTER DATABASE "{database.name}" SET vacuum_cost_{name} = {value}')
    database.run("SELECT pg_stat_force_next_flush()")


def test_vacuum_is_cancelled_on_sigterm_and_completed_by_the_next_run(house, wait):
    database = house.database
    house.with_logins = False
    create_tables_with_slow_vacuum(database)
    local = schedule_at(house, datetime.now(UTC), ["vacuum", "analyze"])
    mark_planned_long_ago(house, local, "vacuum", "analyze")
    service = house.start("run")
    rows = wait(lambda: len(found := database.rows(VACUUMING)) == 2 and found, 75, "two VACUUMs")
    assert {row["name"] for row in rows} == {"sereno/vacuum"}
    stop_within_two_seconds(service, database, wait, [row["pid"] for row in rows])
    (run,) = runs(house, "vacuum")
    assert (run["state"], runs(house)) == ("interrupted", [])

    database.run(f'ALTER DATABASE "{database.name}" RESET ALL')
    with running(house):
        wait(lambda: finished_runs(house), 20, "the remaining jobs")
    resumed, interrupted = runs(house, "vacuum")
    assert (resumed["state"], resumed["nominal"]) == ("finished", interrupted["nominal"])
    done = {step["object"]: (step["status"], step["rows"]) for step in steps(house, resumed)}
    assert done["public.t0"] == done["public.t1"] == ("done", 200000)


def wait_until_ready(house, wait):
    house.context()
    wait(lambda: query(house, "status")["service"], what="the service")


def test_second_service_exits_busy_and_run_of_a_killed_one_is_interrupted(house, wait):
    house.with_logins = False
    service = house.start("run")
    worker = worker_of(service.pid)
    wait_until_ready(house, wait)
    second = house.sereno("run", check=False)
    assert (second.returncode, "another sereno owns" in second.stderr) == (75, True)
    service.kill()
    service.wait()
    service.stdout.close()
    record_running(house.context(), worker, datetime.now(UTC))
    with running(house):
        (run, *_) = wait(
            lambda: [run for run in runs(house) if run["state"] == "interrupted"],
            what="the interrupted run",
        )
        assert str(service.pid) in run["reason"]


def record_running(context, worker, began):
    with context.store.transaction() as transaction:
        transaction.execute(
            "INSERT INTO run (job, scope, database, started_at, state, process, worker)"
            " VALUES ('analyze', 'database', 'main', ?, 'running', 1, ?)",
            (to_text(began), str(worker)),
        )


@pytest.mark.parametrize(
    ("changed", "age", "state"),
    [
        ({}, timedelta(), "running"),
        ({}, timedelta(days=30), "running"),
        ({"began": 7}, timedelta(), "interrupted"),
        ({"boot": "an-earlier-one"}, timedelta(), "interrupted"),
        ({"host": "elsewhere"}, timedelta(), "running"),
        ({"host": "elsewhere"}, timedelta(days=2), "interrupted"),
        (None, timedelta(), "interrupted"),
    ],
)
def test_run_of_a_live_process_continues_unless_its_process_number_was_reused(
    house, changed, age, state
):
    context = house.context()
    with subprocess.Popen(["sleep", "600"]) as other:
        worker = "" if changed is None else replace(worker_of(other.pid), **changed)
        record_running(context, worker, datetime.now(UTC) - age)
        recover_interrupted_runs(context)
        other.kill()
    with context.store.reading() as transaction:
        assert transaction.row("SELECT state FROM run")["state"] == state


@pytest.mark.parametrize(("catch_up", "late"), [("always", True), ("never", False)])
def test_missed_run_is_caught_up_according_to_the_schedule(house, wait, catch_up, late):
    """Late: due three hours ago with a window of two hours. Otherwise due in this minute."""
    house.with_logins = False
    now = datetime.now(UTC)
    due = (now - timedelta(hours=3) if late else now).replace(second=0, microsecond=0)
    local = schedule_at(house, due, ["analyze"])
    path = house.write()
    path.write_text(
        path.read_text().replace(
            'jobs = ["analyze"]', f'jobs = ["analyze"]\ncatch_up = "{catch_up}"'
        )
    )
    mark_planned_long_ago(house, local, "analyze")
    with running(house):
        if late:
            (run,) = wait(lambda: finished_runs(house), what="the run")
            assert run["nominal"] == local.strftime("%Y-%m-%dT%H:%M")
        else:
            alerts = wait(lambda: query(house, "alerts", "list"), what="the alert")
            assert [alert["kind"] for alert in alerts] == ["task_missed"]
            assert [(run["state"], run["reason"]) for run in runs(house)] == [
                ("skipped", "missed: catch_up does not allow it")
            ]


def test_new_schedule_has_no_missed_runs_and_a_missed_run_raises_an_alert(house, wait, endpoint):
    ticket = endpoint()
    house.with_logins = False
    house.extra = (
        f'[channels.ticket]\ntype = "webhook"\nurl = "{ticket.url}/"\n[routes]\nhigh = ["ticket"]\n'
    )
    schedule_at(house, datetime.now(UTC) - timedelta(hours=3))
    with running(house):
        wait_until_ready(house, wait)
    assert (runs(house), ticket.requests) == ([], [])
    with house.context().store.transaction() as transaction:
        transaction.execute(
            "UPDATE instance SET value = '2026-01-01T00:00:00.000000Z' WHERE name LIKE 'planned %'"
        )
    with running(house):
        (request,) = wait(lambda: ticket.requests, what="the alert")
    data = json.loads(request["body"])["data"]
    assert (data["kind"], data["severity"]) == ("task_missed", "HIGH")
    assert {(run["state"], run["reason"]) for run in runs(house)} == {
        ("skipped", "missed: its window has ended")
    }
