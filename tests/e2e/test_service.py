"""`sereno run`: fires at its time, stops within seconds, and takes up what it left."""

import json
import signal
from datetime import UTC, datetime, timedelta

import pytest


def schedule(house, due, jobs=("analyze", "integrity_check")):
    """The next minute, in the zone of the configuration (La Paz is always four hours behind)."""
    local = due - timedelta(hours=4)
    path = house.write()
    path.write_text(
        path.read_text()
        .replace('cron = "0 2 * * *"', f'cron = "{local.minute} {local.hour} * * *"')
        .replace(
            'jobs = ["log_cleanup", "analyze", "disk_check", "integrity_check"]',
            f"jobs = {json.dumps(jobs)}",
        )
    )
    house.write = lambda: path


def runs(house, job="analyze"):
    return [
        run for run in json.loads(house.sereno("history", "--json").stdout) if run["job"] == job
    ]


def test_it_fires_stops_in_the_middle_and_goes_on(house, wait):
    database = house.database
    with database.connect(autocommit=True) as other:
        other.execute("SET session_replication_role = replica")
        other.execute(
            "CREATE FUNCTION public.slow(a int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM pg_sleep(0.05); RETURN a; END $$"
        )
        other.execute("CREATE TABLE public.t (a int)")
        other.execute("CREATE INDEX ON public.t (public.slow(a))")
        other.execute("ALTER TABLE public.t SET (autovacuum_enabled = off)")
        other.execute(
            "CREATE OR REPLACE FUNCTION public.slow(a int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a'"
        )
        other.execute("INSERT INTO public.t SELECT generate_series(1, 3000)")
        other.execute(
            "CREATE OR REPLACE FUNCTION public.slow(a int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM pg_sleep(0.02); RETURN a; END $$"
        )
    house.with_logins = False
    due = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
    if (due - datetime.now(UTC)).total_seconds() < 4:
        due += timedelta(minutes=1)
    schedule(house, due)
    service = house.start("run")
    analyzing = "SELECT p.pid, a.application_name FROM pg_stat_progress_analyze p JOIN pg_stat_activity a USING (pid) WHERE p.datname = current_database()"
    (row,) = wait(lambda: database.rows(analyzing), 75, "ANALYZE at the due minute")
    assert row["application_name"] == "sereno/analyze"
    fired = datetime.now(UTC)
    assert due <= fired < due + timedelta(seconds=10)

    service.send_signal(signal.SIGTERM)
    wait(
        lambda: not database.rows("SELECT 1 FROM pg_stat_activity WHERE pid = %s", row["pid"]),
        2,
        "the end of the backend",
    )
    assert service.wait(10) == 0
    output = service.stdout.read()
    service.stdout.close()
    assert "Traceback" not in output, output
    (run,) = runs(house)
    assert (run["state"], run["nominal"]) == (
        "interrupted",
        (due - timedelta(hours=4)).strftime("%Y-%m-%dT%H:%M"),
    )
    assert runs(house, "integrity_check") == []
    assert (
        database.rows("SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'sereno/%%'")
        == []
    )

    database.run(
        "CREATE OR REPLACE FUNCTION public.slow(a int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a'"
    )
    service = house.start("run")
    finished = wait(
        lambda: [r for r in runs(house, "integrity_check") if r["state"] == "finished"],
        20,
        "the rest of the list",
    )
    service.send_signal(signal.SIGTERM)
    assert service.wait(10) == 0
    service.stdout.close()
    assert finished[0]["nominal"] == run["nominal"]
    assert [(r["state"], r["nominal"]) for r in runs(house)] == [
        ("finished", run["nominal"]),
        ("interrupted", run["nominal"]),
    ]
    assert (
        json.loads(house.sereno("history", str(runs(house)[0]["id"]), "--json").stdout)["steps"][0][
            "status"
        ]
        == "done"
    )


def test_a_vacuum_that_is_stopped_leaves_at_once_and_is_done_the_next_time(house, wait):
    database = house.database
    house.with_logins = False
    for number in range(2):
        database.run(f"CREATE TABLE public.t{number} (a int) WITH (autovacuum_enabled = off)")
        database.run(f"INSERT INTO public.t{number} SELECT generate_series(1, 400000)")
        database.run(f"DELETE FROM public.t{number} WHERE a % 2 = 0")
    for name, value in {
        "delay": 10,
        "limit": 1,
        "page_hit": 1,
        "page_miss": 1,
        "page_dirty": 0,
    }.items():
        database.run(f'ALTER DATABASE "{database.name}" SET vacuum_cost_{name} = {value}')
    database.run("SELECT pg_stat_force_next_flush()")
    now = datetime.now(UTC)
    schedule(house, now, ["vacuum", "analyze"])
    with house.context().store.transaction() as transaction:
        for job in ("vacuum", "analyze"):
            name = (
                f"planned daily {(now - timedelta(hours=4)).strftime('%-M %-H')} * * * {job} main"
            )
            transaction.execute(
                "INSERT INTO instance VALUES (?, '2026-01-01T00:00:00.000000Z')", (name,)
            )
    service = house.start("run")
    vacuuming = (
        "SELECT p.pid, a.application_name AS name FROM pg_stat_progress_vacuum p JOIN pg_stat_activity a USING (pid)"
        " WHERE p.datname = current_database() AND p.heap_blks_scanned > 0"
    )
    rows = wait(lambda: len(found := database.rows(vacuuming)) == 2 and found, 75, "two VACUUMs")
    assert {row["name"] for row in rows} == {"sereno/vacuum"}
    service.send_signal(signal.SIGTERM)
    pids = [row["pid"] for row in rows]
    wait(
        lambda: not database.rows("SELECT FROM pg_stat_activity WHERE pid = ANY (%s)", pids),
        2,
        "their end",
    )
    assert service.wait(10) == 0
    output = service.stdout.read()
    service.stdout.close()
    assert "Traceback" not in output, output
    (run,) = runs(house, "vacuum")
    assert (run["state"], runs(house)) == ("interrupted", [])
    database.run(f'ALTER DATABASE "{database.name}" RESET ALL')
    service = house.start("run")
    wait(lambda: [r for r in runs(house) if r["state"] == "finished"], 20, "the rest of the list")
    service.send_signal(signal.SIGTERM)
    assert service.wait(10) == 0
    service.stdout.close()
    again, interrupted = runs(house, "vacuum")
    assert (again["state"], again["nominal"]) == ("finished", interrupted["nominal"])
    steps = json.loads(house.sereno("history", str(again["id"]), "--json").stdout)["steps"]
    done = {step["object"]: (step["status"], step["rows"]) for step in steps}
    assert done["public.t0"] == done["public.t1"] == ("done", 200000)


def test_a_second_service_is_turned_away_and_a_killed_ones_run_is_interrupted(house, wait):
    house.with_logins = False
    service = house.start("run")
    wait(lambda: json.loads(house.sereno("status", "--json").stdout)["service"], what="the service")
    second = house.sereno("run", check=False)
    assert (second.returncode, "another sereno owns" in second.stderr) == (75, True)
    service.kill()
    service.wait()
    service.stdout.close()
    context = house.context()
    with context.store.transaction() as transaction:
        transaction.execute(
            "INSERT INTO run (job, scope, database, started_at, state, process) VALUES ('analyze', 'database', 'main', '2026-01-01T00:00:00.000000Z', 'running', 4242)"
        )
    service = house.start("run")
    run = wait(lambda: [r for r in runs(house) if r["state"] == "interrupted"], what="the take-up")[
        0
    ]
    assert "4242" in run["reason"]
    service.send_signal(signal.SIGTERM)
    assert service.wait(10) == 0
    service.stdout.close()


@pytest.mark.parametrize(("catch_up", "late"), [("always", True), ("never", False)])
def test_what_was_missed_is_caught_up_as_the_schedule_says(house, wait, catch_up, late):
    """Due three hours ago, its window two hours long; or due just now and not to be caught up."""
    house.with_logins = False
    now = datetime.now(UTC)
    due = (now - timedelta(hours=3) if late else now).replace(second=0, microsecond=0)
    schedule(house, due, ["analyze"])
    path = house.write()
    path.write_text(
        path.read_text().replace(
            'jobs = ["analyze"]', f'jobs = ["analyze"]\ncatch_up = "{catch_up}"'
        )
    )
    local = due - timedelta(hours=4)
    with house.context().store.transaction() as transaction:
        name = f"planned daily {local.minute} {local.hour} * * * analyze main"
        transaction.execute(
            "INSERT INTO instance VALUES (?, '2026-01-01T00:00:00.000000Z')", (name,)
        )
    service = house.start("run")
    if late:
        (run,) = wait(
            lambda: [run for run in runs(house) if run["state"] == "finished"],
            what="the catching up",
        )
        assert run["nominal"] == local.strftime("%Y-%m-%dT%H:%M")
    else:
        kinds = wait(
            lambda: json.loads(house.sereno("alerts", "list", "--json").stdout), what="the alert"
        )
        assert [alert["kind"] for alert in kinds] == ["task_missed"]
        assert [(run["state"], run["reason"]) for run in runs(house)] == [
            ("skipped", "missed: catch_up does not allow it")
        ]
    service.send_signal(signal.SIGTERM)
    assert service.wait(10) == 0
    service.stdout.close()


def test_a_new_schedule_owes_nothing_and_a_missed_one_is_told(house, wait, endpoint):
    ticket = endpoint()
    house.with_logins = False
    house.extra = (
        f'[channels.ticket]\ntype = "webhook"\nurl = "{ticket.url}/"\n[routes]\nhigh = ["ticket"]\n'
    )
    now = datetime.now(UTC)
    schedule(house, now - timedelta(hours=3))
    service = house.start("run")
    wait(lambda: json.loads(house.sereno("status", "--json").stdout)["service"], what="the service")
    service.send_signal(signal.SIGTERM)
    service.wait(10)
    service.stdout.close()
    assert (runs(house), ticket.requests) == ([], [])
    with house.context().store.transaction() as transaction:
        transaction.execute(
            "UPDATE instance SET value = '2026-01-01T00:00:00.000000Z' WHERE name LIKE 'planned %'"
        )
    service = house.start("run")
    (request,) = wait(lambda: ticket.requests, what="the alert")
    service.send_signal(signal.SIGTERM)
    assert service.wait(10) == 0
    service.stdout.close()
    data = json.loads(request["body"])["data"]
    assert (data["kind"], data["severity"]) == ("task_missed", "HIGH")
    assert {(run["state"], run["reason"]) for run in runs(house)} == {
        ("skipped", "missed: its window has ended")
    }
