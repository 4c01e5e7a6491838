"""Job vacuum on a server: due tables, locks, privileges, parallel workers, progress and window."""

import subprocess
import threading
import time

import pytest

from execution.progress import NoProgress
from tests.postgres.dead_rows import create_dead_rows, reset_throttle, throttle_vacuum


@pytest.fixture
def flush_now(house):
    return lambda: house.database.run("SELECT pg_stat_force_next_flush()")


def test_tables_above_their_threshold_are_vacuumed_once(any_house, flush):
    any_house.with_logins = False
    run = any_house.database.run
    create_dead_rows(any_house.database, "usual")
    create_dead_rows(any_house.database, "lazy", options=", autovacuum_vacuum_threshold = 2000")
    create_dead_rows(any_house.database, "inserted", rows=2)
    run("INSERT INTO public.inserted SELECT generate_series(1, 3000)")
    create_dead_rows(any_house.database, "still", rows=80)
    for number in range(5):
        create_dead_rows(any_house.database, f'"we""ird {number} %s ñ"')
    flush()
    run("ANALYZE public.usual, public.inserted, public.lazy")
    flush()
    done = any_house.run("vacuum")
    assert done["state"] == "finished"
    table_steps = [step for step in done["steps"] if step["object"].startswith("public.")]
    assert sorted(step["object"] for step in table_steps) == sorted(
        [
            "public.usual",
            "public.inserted",
            *(f'public."we""ird {number} %s ñ"' for number in range(5)),
        ]
    )
    assert {step["status"] for step in table_steps} == {"done"}
    tables = any_house.database.rows(
        "SELECT relname, n_dead_tup, last_analyze IS NOT NULL AS analyzed FROM pg_stat_user_tables ORDER BY 1"
    )
    assert {row["relname"]: row["n_dead_tup"] for row in tables if row["n_dead_tup"]} == {
        "lazy": 500,
        "still": 40,
    }
    assert all(row["analyzed"] for row in tables if row["relname"].startswith("we"))
    again = any_house.run("vacuum")
    assert [step["object"] for step in again["steps"] if step["object"].startswith("public.")] == []


def spanish_locale(scratch):
    """Build an es_ES.UTF-8 locale with localedef; skip the test where that fails."""
    folder = scratch / "locale"
    if not folder.exists():
        folder.mkdir(mode=0o755)
        command = [
            "localedef",
            "--no-archive",
            "-i",
            "es_ES",
            "-f",
            "UTF-8",
            str(folder / "es_ES.UTF-8"),
        ]
        try:
            subprocess.run(command, capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"localedef cannot build es_ES.UTF-8: {error}")
    return folder


@pytest.mark.parametrize("language", ["C", "es_ES.UTF-8"])
def test_table_without_privilege_is_skipped_in_any_message_language(
    any_server,
    language,
    scratch,
    make_database,
    make_house,
    tmp_path,
    clusters,
    monkeypatch,
    request,
):
    server = any_server
    if language != "C":
        monkeypatch.setenv("LOCPATH", str(spanish_locale(scratch)))
        server = clusters(request.node.callspec.params["any_server"], lc_messages=language)
    with make_database(server) as database:
        if language != "C" and server.program("postgres").startswith(
            "/usr/lib/postgresql"
        ):  # other builds have no translated messages
            with pytest.raises(Exception, match="división"):
                database.run("SELECT 1 / 0")
        house = make_house(tmp_path, database)
        role = f"nobody_{house.maintain}"
        database.run(f"CREATE ROLE {role} LOGIN")
        database.run(f"GRANT pg_read_all_data, pg_monitor TO {role}")
        for number in range(3):
            create_dead_rows(database, f"t{number}")
        database.run("SELECT pg_sleep(1)")
        house.maintain = role
        done = house.run("vacuum")
        assert [(step["status"], step["reason"][:12]) for step in done["steps"]] == [
            ("skipped", "no privilege")
        ] * 3
        assert [(row["kind"], row["severity"]) for row in done["findings"]] == [
            ("task_skipped", "info")
        ]


def test_vacuum_that_only_warns_is_ineffective(house):
    from psycopg import sql

    from execution.control import RunLimits, StepControl
    from execution.governor import Limits, Sample
    from execution.step import Status
    from execution.window import open_window
    from jobs.steps.postconditions import VacuumDue, Vacuumed
    from jobs.steps.statement import Statement
    from postgres.session import MAINTAIN, Credentials, Target, open_session

    role = f"nobody_{house.maintain}"
    house.database.run(f"CREATE ROLE {role} LOGIN")
    create_dead_rows(house.database, "t")
    oid = house.database.value("SELECT 'public.t'::regclass::oid::int8")
    postcondition = Vacuumed((VacuumDue(oid, 50, 50, 1e9, 1e9),))
    step = Statement(
        name="vacuum",
        object="public.t",
        command=sql.SQL("VACUUM public.t").format(),
        postcondition=postcondition,
    )
    pace = StepControl(
        RunLimits(open_window(None), threading.Event(), Sample, Limits(), NoProgress(), Sample), 60
    )
    with open_session(
        Target("main", house.database.dsn, {MAINTAIN: Credentials(role)}), MAINTAIN, "vacuum"
    ) as opened:
        outcome = step.apply(opened, pace)
    assert (outcome.status, "counts no new VACUUM" in outcome.reason) == (Status.INEFFECTIVE, True)


@pytest.mark.usefixtures("few_attempts")
def test_locked_table_of_group_is_retried_alone_and_blocker_is_named(house, flush_now):
    house.with_logins = False
    for number in range(4):
        create_dead_rows(house.database, f"t{number}")
    flush_now()
    with house.database.connect() as other:
        other.execute("LOCK TABLE public.t2 IN SHARE MODE")
        done = house.run("vacuum")
        steps = {step["object"]: step for step in done["steps"]}
        assert [steps[f"public.t{number}"]["status"] for number in (0, 1, 3)] == ["done"] * 3
        assert steps["public.t2"]["status"] == "skipped"
        assert f"blocked by pid {other.info.backend_pid}" in steps["public.t2"]["reason"]


@pytest.mark.usefixtures("few_attempts")
def test_locked_table_is_retried_after_all_other_steps(house, flush_now):
    """The lock is released at the end of the first pass, as by a finished DDL statement."""
    house.with_logins, house.extra = False, "[jobs.vacuum]\nparallel = 1\n"
    for name, rows in (("locked", 2000), ("free", 1000)):
        create_dead_rows(house.database, name, rows=rows)
    flush_now()
    ended = []
    with house.database.connect() as other:
        other.execute("LOCK TABLE public.locked IN ACCESS EXCLUSIVE MODE")

        class ReleaseLock(NoProgress):
            def end(self, number, status, reason):
                ended.append((number, status))
                other.rollback()

        done = house.run("vacuum", progress=ReleaseLock())
    steps = {step["object"]: step for step in done["steps"]}
    names = (
        "public.free",
        "public.locked",
        "database statistics",
    )  # other tests may make a shared catalog due as well
    assert (done["state"], [steps[name]["status"] for name in names]) == (
        "finished",
        ["done"] * 3,
    )
    locked, last = (steps[name]["ordinal"] + 1 for name in names[1:])
    assert ended[-2:] == [(last, "done"), (locked, "done")]


def test_two_workers_vacuum_in_parallel_and_database_statistics_come_last(house, flush_now, wait):
    house.with_logins = False
    for number in range(2):
        create_dead_rows(house.database, f"t{number}", rows=400_000)
    flush_now()
    throttle_vacuum(house.database)
    samples = set()
    stop = threading.Event()

    def sample_progress():
        with house.database.connect(autocommit=True) as other:
            while not stop.is_set():
                rows = other.execute(
                    "SELECT pid, relid::regclass::text AS name FROM pg_stat_progress_vacuum WHERE datname = current_database()"
                ).fetchall()
                samples.add(frozenset((row["pid"], row["name"]) for row in rows))
                time.sleep(0.01)

    watcher = threading.Thread(target=sample_progress)
    watcher.start()
    try:
        done = house.run("vacuum")
    finally:
        stop.set()
        watcher.join()
    assert [step["object"] for step in done["steps"] if step["object"].startswith("public")] != []
    assert done["steps"][-1]["object"] == "database statistics"
    parallel = [sample for sample in samples if {name for _, name in sample} == {"t0", "t1"}]
    assert parallel, samples
    assert all(len({pid for pid, _ in sample}) == 2 for sample in parallel)


def test_progress_comes_from_pg_stat_progress_vacuum(house, flush_now):
    house.with_logins = False
    create_dead_rows(house.database, "t", rows=300_000)
    flush_now()
    throttle_vacuum(house.database)

    class RecordedProgress(NoProgress):
        def __init__(self):
            self.done = []

        def advance(self, number, done):
            self.done.append(done)

    progress = RecordedProgress()
    house.run("vacuum", progress=progress)
    counts = [done.count for done in progress.done if done.unit == "blocks, scanning heap"]
    assert len(counts) >= 2
    assert counts == sorted(counts)
    assert 0 < progress.done[-1].count <= progress.done[-1].total


def test_window_end_stops_vacuum_and_next_run_continues(house, flush_now):
    from execution.window import open_window

    house.with_logins = False
    for number in range(8):
        create_dead_rows(house.database, f"t{number}", rows=300_000)
    flush_now()
    house.extra = "[jobs.vacuum]\nparallel = 1\n"
    throttle_vacuum(house.database, 40)
    first = house.run("vacuum", window=open_window(2.5))
    assert first["state"] == "window_ended"
    statuses = [step["status"] for step in first["steps"]]
    assert statuses.count("done") >= 1
    assert first["steps_left"] == statuses.count("unfinished") >= 1
    reset_throttle(house.database)
    second = house.run("vacuum")
    vacuumed = {step["object"] for step in first["steps"] if step["status"] == "done"}
    assert second["state"] == "finished"
    assert not vacuumed & {step["object"] for step in second["steps"]}


def test_table_near_freeze_max_age_is_vacuumed_first(house, flush_now):
    house.with_logins, house.extra = False, "[jobs.vacuum]\nparallel = 1\n"
    run = house.database.run
    create_dead_rows(house.database, "dead")
    run("CREATE TABLE public.old (a int) WITH (autovacuum_freeze_max_age = 100000)")
    run("INSERT INTO public.old VALUES (1)")
    run(
        "CREATE PROCEDURE public.burn() LANGUAGE plpgsql AS $$ BEGIN FOR n IN 1..95100 LOOP PERFORM txid_current(); COMMIT; END LOOP; END $$"
    )
    run("CALL public.burn()")
    flush_now()
    done = house.run("vacuum")
    table_steps = [step for step in done["steps"] if step["object"].startswith("public.")]
    assert (table_steps[0]["object"], table_steps[0]["status"]) == ("public.old", "done")
    assert (
        house.database.value("SELECT age(relfrozenxid) FROM pg_class WHERE relname = 'old'") < 1000
    )


def test_group_not_started_is_recorded_as_unfinished_step_per_table(house, flush_now):
    from execution.window import open_window

    house.with_logins = False
    for number in range(3):
        create_dead_rows(house.database, f"t{number}")
    flush_now()
    done = house.run("vacuum", window=open_window(0.001))
    unfinished = [step["object"] for step in done["steps"] if step["status"] == "unfinished"]
    assert {"public.t0", "public.t1", "public.t2", "database statistics"} <= set(unfinished)
    assert (done["state"], done["steps_left"]) == ("window_ended", len(unfinished))


def test_small_steps_are_recorded_in_batches(house, flush_now):
    house.with_logins = False
    for number in range(250):
        create_dead_rows(house.database, f"t{number}", rows=120)
    flush_now()
    steps = house.run("vacuum")["steps"]
    assert len([step for step in steps if step["object"].startswith("public.")]) == 250
    finish_times = sorted({step["finished_at"] for step in steps})
    assert len(finish_times) <= 2 + sum(step["seconds"] for step in steps), (
        "more than one transaction a second"
    )
    assert [step["ordinal"] for step in steps] == list(range(len(steps)))


@pytest.mark.usefixtures("few_attempts")
def test_locked_table_does_not_block_other_tables(any_house, flush):
    any_house.with_logins = False
    for name in ("locked", "other"):
        create_dead_rows(any_house.database, name)
    any_house.database.run("CREATE TABLE public.parent (a int) PARTITION BY RANGE (a)")
    any_house.database.run("CREATE TABLE public.leaf PARTITION OF public.parent DEFAULT")
    any_house.database.run("INSERT INTO public.parent SELECT generate_series(1, 1000)")
    flush()
    with any_house.database.connect() as other:
        other.execute("LOCK TABLE public.locked, public.parent IN ACCESS EXCLUSIVE MODE")
        disk_check = any_house.run("disk_check", scope=any_house.scope("database"))
        assert (disk_check["state"], disk_check["steps"][0]["status"]) == ("finished", "done")
        done = any_house.run("vacuum")
        steps = {
            step["object"]: step["status"]
            for step in done["steps"]
            if step["object"].startswith("public.")
        }
        assert (steps["public.locked"], steps["public.other"]) == ("skipped", "done")


def test_page_count_of_huge_table_does_not_overflow(house, flush_now):
    house.with_logins = False
    create_dead_rows(house.database, "t")
    flush_now()
    house.database.run(
        "UPDATE pg_class SET relpages = 2000000000, reltuples = 10 WHERE relname = 't'"
    )
    done = house.run("vacuum")
    assert [step["status"] for step in done["steps"] if step["object"] == "public.t"] == ["done"]


def test_zero_freeze_table_age_does_not_make_every_table_due(house, flush_now):
    house.with_logins = False
    house.database.run("CREATE TABLE public.fresh (a int); INSERT INTO public.fresh VALUES (1)")
    house.database.run("VACUUM (ANALYZE) public.fresh")
    house.database.run(f'ALTER DATABASE "{house.database.name}" SET vacuum_freeze_table_age = 0')
    house.database.run(
        f'ALTER DATABASE "{house.database.name}" SET vacuum_multixact_freeze_table_age = 0'
    )
    flush_now()
    assert [
        step["object"] for step in house.run("vacuum")["steps"] if step["object"] == "public.fresh"
    ] == []


def test_locked_toast_table_does_not_repeat_vacuum_of_main_table(house, flush_now):
    """Only the TOAST table remains; a retry would scan the whole main table again."""
    house.with_logins = False
    run = house.database.run
    run("CREATE TABLE public.t (a int, b text STORAGE EXTERNAL) WITH (autovacuum_enabled = off)")
    run("INSERT INTO public.t SELECT n, repeat('x', 3000) FROM generate_series(1, 1000) n")
    run("DELETE FROM public.t WHERE a % 2 = 0")
    run("ANALYZE public.t")
    flush_now()
    toast = house.database.value(
        "SELECT reltoastrelid::regclass::text FROM pg_class WHERE relname = 't'"
    )
    with house.database.connect() as other:
        other.execute("SELECT pg_advisory_lock(1); LOCK TABLE public.t IN ACCESS SHARE MODE")
        other.execute("SET LOCAL allow_system_table_mods = on")
        other.execute(f"REINDEX INDEX {toast}_index")
        house.run("vacuum")
    assert (
        house.database.value("SELECT vacuum_count FROM pg_stat_user_tables WHERE relname = 't'")
        <= 1
    )


def test_connection_limit_reduces_parallel_sessions(house, flush_now):
    role = f"narrow_{house.maintain}"
    house.database.run(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 2")
    house.database.run(f"GRANT pg_maintain, pg_monitor, pg_read_all_data TO {role}")
    for number in range(2):
        create_dead_rows(house.database, f"t{number}", rows=300_000)
    flush_now()
    house.maintain = role
    done = house.run("vacuum")
    assert done["state"] == "finished"
    assert [step["status"] for step in done["steps"] if step["object"].startswith("public.t")] == [
        "done",
        "done",
    ]
