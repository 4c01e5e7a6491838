"""Job log_cleanup: expired rows are deleted in batches, expired log files removed."""

import json
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from execution.window import open_window
from jobs.job import Scope
from tests.postgres.log_table import TABLE, fill


@pytest.mark.parametrize("indexed", [True, False], ids=["by index", "by block"])
def test_only_expired_rows_are_deleted(log, indexed):
    if indexed:
        log.database.run("CREATE INDEX ON public.log (at)")
    fill(log, 23456)
    run = log.run("log_cleanup")
    assert (run["state"], run["steps"][0]["rows"]) == ("finished", 23456)
    assert log.database.value("SELECT count(*) FROM public.log") == 10
    assert log.run("log_cleanup")["steps"] == []


@pytest.mark.parametrize("indexed", [True, False], ids=["by index", "by block"])
def test_delete_removes_at_most_batch_rows(log, indexed):
    if indexed:
        log.database.run("CREATE INDEX ON public.log (at)")
    fill(log, 3000)
    log.database.run("CREATE TABLE public.seen (n int)")
    log.database.run(
        "CREATE FUNCTION public.count() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS"
        " $$ BEGIN INSERT INTO public.seen SELECT count(*) FROM gone; RETURN NULL; END $$"
    )
    log.database.run(
        "CREATE TRIGGER counts AFTER DELETE ON public.log REFERENCING OLD TABLE AS gone"
        " FOR EACH STATEMENT EXECUTE FUNCTION public.count()"
    )
    log.extra = "[governor]\nbatch_rows = 200\n" + TABLE
    assert log.run("log_cleanup")["steps"][0]["rows"] == 3000
    assert log.database.value("SELECT max(n) FROM public.seen") <= 200
    assert log.database.value("SELECT sum(n) FROM public.seen") == 3000


ages = st.lists(st.integers(-50, 50), max_size=60)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ages, st.booleans(), st.integers(1, 7))
def test_expired_rows_are_deleted_for_any_ages_and_batch_size(log, hours, indexed, batch_rows):
    """Ages include equal timestamps, fewer rows than a batch, and no rows."""
    log.database.run("TRUNCATE public.log; DROP INDEX IF EXISTS public.log_at_idx")
    if indexed:
        log.database.run("CREATE INDEX log_at_idx ON public.log (at)")
    edge = datetime.now(UTC) - timedelta(days=30)
    with log.database.admin.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO public.log VALUES (%s, %s)",
            [(n, edge + timedelta(hours=h or 1)) for n, h in enumerate(hours)],
        )
    log.extra = f"[governor]\nbatch_rows = {batch_rows}\n" + TABLE
    run = log.run("log_cleanup")
    assert run["state"] == "finished"
    remaining = {row["id"] for row in log.database.rows("SELECT id FROM public.log")}
    assert remaining == {n for n, h in enumerate(hours) if (h or 1) > 0}


@pytest.mark.parametrize("type_", ["date", "timestamp", "timestamptz"])
def test_age_column_of_each_type_and_infinity_is_kept(house, type_):
    house.database.run(f"CREATE TABLE public.log (id bigint PRIMARY KEY, at {type_})")
    house.extra = TABLE
    house.install()
    house.database.run(
        "INSERT INTO public.log VALUES (1, 'infinity'), (2, '-infinity'), (3, now() - interval '40 days'), (4, now()), (5, NULL)"
    )
    assert house.run("log_cleanup")["steps"][0]["rows"] == 2
    assert house.database.rows("SELECT id FROM public.log ORDER BY id") == [
        {"id": 1},
        {"id": 4},
        {"id": 5},
    ]


def test_uuid_other_than_version_7_is_not_deleted(house):
    house.database.run("CREATE TABLE public.log (id uuid PRIMARY KEY, note text)")
    house.extra = (
        "[[jobs.log_cleanup.tables]]\ntable = 'public.log'\ncolumn = 'id'\nkeep = '30 days'\n"
    )
    house.install()
    house.database.run("INSERT INTO public.log SELECT ('ff900000-0000-7abc-8000-' || lpad(n::text, 12, '0'))::uuid, 'young' FROM generate_series(1, 1500) n")  # fmt: skip
    house.database.run(
        "INSERT INTO public.log VALUES ('00000000-0000-7abc-8000-000000000000', 'old')"
    )
    house.database.run(
        "INSERT INTO public.log SELECT gen_random_uuid(), 'made just now' FROM generate_series(1, 5000)"
    )
    run = house.run("log_cleanup")
    assert (run["state"], run["steps"][0]["rows"]) == ("finished", 1)
    assert house.database.value("SELECT count(*) FROM public.log") == 6500


def test_partitioned_table_is_cleaned(house):
    house.database.run(
        "CREATE TABLE public.log (id bigint, at timestamptz) PARTITION BY RANGE (at)"
    )
    house.database.run(
        "CREATE TABLE public.log_old PARTITION OF public.log FOR VALUES FROM (MINVALUE) TO ('2025-01-01')"
    )
    house.database.run("CREATE TABLE public.log_new PARTITION OF public.log DEFAULT")
    house.extra = TABLE
    house.install()
    house.database.run(
        "INSERT INTO public.log SELECT n, '2024-06-01' FROM generate_series(1, 2500) n"
    )
    fill(house, 1500)
    assert house.run("log_cleanup")["steps"][0]["rows"] == 4000
    assert house.database.value("SELECT count(*) FROM public.log") == 10


def test_step_is_ineffective_when_trigger_keeps_rows(log):
    fill(log, 50)
    log.database.run(
        "CREATE FUNCTION public.keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$"
    )
    log.database.run(
        "CREATE TRIGGER keeps BEFORE DELETE ON public.log FOR EACH ROW EXECUTE FUNCTION public.keep()"
    )
    run = log.run("log_cleanup")
    assert [step["status"] for step in run["steps"]] == ["ineffective"]
    assert [finding["kind"] for finding in run["findings"]] == ["ineffective"]
    log.database.run("DROP TRIGGER keeps ON public.log")
    assert log.run("log_cleanup")["steps"][0]["rows"] == 50


def test_rows_with_cascading_foreign_key_are_not_deleted(log):
    fill(log, 5)
    log.database.run(
        "CREATE TABLE public.child (id int, log_id bigint REFERENCES public.log ON DELETE CASCADE)"
    )
    run = log.run("log_cleanup")
    assert run["state"] == "failed"
    assert "public.child" in run["reason"]
    assert log.database.value("SELECT count(*) FROM public.log") == 15


@pytest.mark.parametrize("listed", ["public.log", "public.log_old"])
def test_cascading_foreign_key_to_root_or_leaf_of_tree_is_refused(house, listed):
    """The key references the root or a leaf, and the other one is configured."""
    house.database.run(
        "CREATE TABLE public.log (id bigint, at timestamptz, PRIMARY KEY (id, at)) PARTITION BY RANGE (at)"
    )
    house.database.run("CREATE TABLE public.log_old PARTITION OF public.log DEFAULT")
    house.extra = TABLE.replace("public.log", listed)
    house.install()
    house.database.run("INSERT INTO public.log VALUES (1, now() - interval '99 days')")
    target = "public.log_old" if listed == "public.log" else "public.log"
    house.database.run(
        f"CREATE TABLE public.detail (id bigint, at timestamptz, FOREIGN KEY (id, at) REFERENCES {target} ON DELETE CASCADE)"
    )
    run = house.run("log_cleanup")
    assert (run["state"], "public.detail" in run["reason"]) == ("failed", True)
    assert house.database.value("SELECT count(*) FROM public.log") == 1


@pytest.mark.parametrize("indexed", [True, False], ids=["by index", "by block"])
def test_inheriting_table_is_not_cleaned(log, indexed):
    if indexed:
        log.database.run("CREATE INDEX ON public.log (at)")
    log.database.run("CREATE TABLE public.heir () INHERITS (public.log)")
    fill(log, 20)
    log.database.run("INSERT INTO public.heir SELECT 99, now() - interval '99 days'")
    assert log.run("log_cleanup")["steps"][0]["rows"] == 20
    assert log.database.value("SELECT count(*) FROM public.heir") == 1


def test_rows_kept_by_trigger_do_not_block_younger_expired_rows(log):
    log.database.run("CREATE INDEX ON public.log (at)")
    fill(log, 3000)
    log.database.run(
        "CREATE FUNCTION public.hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF OLD.id > 2400 THEN RETURN NULL; END IF; RETURN OLD; END $$"
    )
    log.database.run(
        "CREATE TRIGGER holds BEFORE DELETE ON public.log FOR EACH ROW EXECUTE FUNCTION public.hold()"
    )
    log.extra = "[governor]\nbatch_rows = 200\n" + TABLE
    (step,) = log.run("log_cleanup")["steps"]
    assert (step["status"], step["rows"]) == ("ineffective", 2400)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("DROP TABLE public.log", "no such table"),
        ("ALTER TABLE public.log DROP COLUMN at", "no column"),
        ("ALTER TABLE public.log ALTER at TYPE text", "is text"),
    ],
)
def test_changed_table_fails_run_with_reason(log, change, reason):
    fill(log, 5)
    count = log.database.value("SELECT count(*) FROM public.log")
    log.database.run(change)
    run = log.run("log_cleanup")
    assert run["state"] == "failed"
    assert reason in run["reason"]
    if not change.startswith("DROP"):
        assert log.database.value("SELECT count(*) FROM public.log") == count


def test_window_end_stops_deletes_and_next_run_continues(log):
    fill(log, 20000)
    log.database.run(
        "CREATE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.05); RETURN NULL; END $$"
    )
    log.database.run(
        "CREATE TRIGGER slow AFTER DELETE ON public.log FOR EACH STATEMENT EXECUTE FUNCTION public.slow()"
    )
    log.extra = "[governor]\nbatch_rows = 500\n" + TABLE
    run = log.run("log_cleanup", window=open_window(1.0))
    assert run["state"] == "window_ended"
    assert 0 < run["steps"][0]["rows"] < 20000
    assert log.database.value("SELECT count(*) FROM public.log") == 20010 - run["steps"][0]["rows"]
    assert log.run("log_cleanup")["state"] == "finished"
    assert log.database.value("SELECT count(*) FROM public.log") == 10


def test_window_end_cancels_running_batch(log):
    """statement_timeout is the rest of the window, and the batch is rolled back."""
    fill(log, 500)
    log.database.run(
        "CREATE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(30); RETURN NULL; END $$"
    )
    log.database.run(
        "CREATE TRIGGER slow AFTER DELETE ON public.log FOR EACH STATEMENT EXECUTE FUNCTION public.slow()"
    )
    run = log.run("log_cleanup", window=open_window(1.0))
    assert (run["state"], run["steps"][0]["rows"]) == ("window_ended", 0)
    assert log.database.value("SELECT count(*) FROM public.log") == 510


@pytest.mark.usefixtures("few_attempts")
def test_locked_table_is_skipped_and_blocker_is_named(log):
    fill(log, 5)
    with log.database.connect(application_name="the blocker") as other:
        other.execute("LOCK TABLE public.log IN SHARE MODE")
        run = log.run("log_cleanup")
        (step,) = run["steps"]
        assert step["status"] == "skipped"
        assert f"pid {other.info.backend_pid} (the blocker)" in step["reason"]
    assert log.run("log_cleanup")["steps"][0]["rows"] == 5


def test_lock_waiter_pauses_deletes(log, wait):
    """The next batch waits while a session waits for our lock; the step records the reason."""
    fill(log, 600)
    log.extra = '[governor]\nbatch_rows = 200\nbatch = "5s"\n' + TABLE
    log.database.run(
        "CREATE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.3); RETURN NULL; END $$"
    )
    log.database.run(
        "CREATE TRIGGER slow AFTER DELETE ON public.log FOR EACH STATEMENT EXECUTE FUNCTION public.slow()"
    )
    done = threading.Event()

    def lock_repeatedly():
        with log.database.connect(autocommit=True) as other:
            while not done.is_set():
                other.execute(
                    "DO $$ BEGIN LOCK TABLE public.log IN SHARE ROW EXCLUSIVE MODE; END $$"
                )

    waiter = threading.Thread(target=lock_repeatedly)
    waiter.start()
    try:
        run = log.run("log_cleanup")
    finally:
        done.set()
        waiter.join()
    (step,) = run["steps"]
    assert (step["status"], step["rows"], step["paused_by"]) == (
        "done",
        600,
        "a session waits for our lock",
    )
    assert step["paused_seconds"] > 0


@pytest.mark.parametrize(("pace", "minimum_seconds"), [("full", 1.0), ("gentle", 1.8)])
def test_gentle_pace_pauses_for_duration_of_each_batch(log, pace, minimum_seconds):
    fill(log, 500)
    log.extra = f'[governor]\npace = "{pace}"\nbatch_rows = 100\nbatch = "5s"\n' + TABLE
    log.database.run(
        "CREATE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.2); RETURN NULL; END $$"
    )
    log.database.run(
        "CREATE TRIGGER slow AFTER DELETE ON public.log FOR EACH STATEMENT EXECUTE FUNCTION public.slow()"
    )
    (step,) = log.run("log_cleanup")["steps"]
    assert step["rows"] == 500
    assert step["seconds"] >= minimum_seconds


def test_flag_file_and_pause_command_pause_deletes(log, wait):
    flag = log.folder / "hold"
    log.extra = f'[governor]\nflag_file = "{flag}"\nbatch_rows = 100\n' + TABLE
    fill(log, 2000)
    flag.touch()
    result = {}
    runner = threading.Thread(target=lambda: result.update(log.run("log_cleanup")))
    runner.start()
    try:
        working = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'sereno/log_cleanup' AND state = 'idle' AND query LIKE '%%pg_replication_slots%%'"
        wait(lambda: log.database.rows(working), what="a query of the governor")
        assert log.database.value("SELECT count(*) FROM public.log") == 2010
        log.sereno("pause", "--reason", "migration")
    finally:
        flag.unlink()
    status = log.sereno("status", "--json").stdout
    assert "migration" in status
    threading.Event().wait(1.2)
    assert log.database.value("SELECT count(*) FROM public.log") == 2010
    log.sereno("resume")
    runner.join(20)
    (step,) = result["steps"]
    assert step["rows"] == 2000
    assert "flag file" in step["paused_by"]
    assert "sereno pause" in step["paused_by"]
    assert result["paused_seconds"] >= 1


def test_log_cleanup_is_not_scheduled_without_configured_tables(house):
    house.with_logins = False
    assert [run["job"] for run in json.loads(house.sereno("now", "daily", "--json").stdout)] == [
        "analyze",
        "disk_check",
        "disk_check",
        "integrity_check",
    ]


def test_old_log_files_are_deleted(house, tmp_path, monkeypatch):
    folder = tmp_path / "logs" / "app"
    folder.mkdir(parents=True)
    for n in range(5):
        (folder / f"{n}.log").write_text("x" * 100)
    house.extra = (
        f'[[jobs.log_cleanup.files]]\npath = "{folder}/*.log"\nkeep = "1 day"\nkeep_newest = 2\n'
    )
    real = time.time
    monkeypatch.setattr(
        time, "time", lambda: real() + 2 * 86400
    )  # the ctime of a file cannot be set
    run = house.run("log_cleanup", Scope.HOST)
    assert (run["state"], run["steps"][0]["rows"], run["steps"][0]["bytes"]) == ("finished", 3, 300)
    assert len(list(folder.iterdir())) == 2
