"""Expired rows leave: all of them, none but them, in batches that nobody feels, with a login that nobody wants."""

import json
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from execution.window import open_window
from jobs.job import Scope

TABLE = """
[[jobs.log_cleanup.tables]]
table = 'public.log'
column = "at"
keep = "30 days"
"""


@pytest.fixture
def log(house):
    house.database.run(f"CREATE ROLE app_{house.maintain} LOGIN")
    house.database.run("CREATE TABLE public.log (id bigint PRIMARY KEY, at timestamptz, note text)")
    house.extra = TABLE
    house.install()
    return house


def fill(house, old, new=10, table="public.log"):
    house.database.run(
        f"INSERT INTO {table} SELECT n, now() - interval '31 days' - n * interval '1 s' FROM generate_series(1, {old}) n"
    )
    house.database.run(
        f"INSERT INTO {table} SELECT -n, now() - n * interval '1 day' FROM generate_series(1, {new}) n"
    )


@pytest.mark.parametrize("indexed", [True, False], ids=["by index", "by block"])
def test_all_expired_rows_leave_and_none_but_them(log, indexed):
    if indexed:
        log.database.run("CREATE INDEX ON public.log (at)")
    fill(log, 23456)
    run = log.run("log_cleanup")
    assert (run["state"], run["steps"][0]["rows"]) == ("finished", 23456)
    assert log.database.value("SELECT count(*) FROM public.log") == 10
    assert log.run("log_cleanup")["steps"] == []


@pytest.mark.parametrize("indexed", [True, False], ids=["by index", "by block"])
def test_no_delete_removes_more_than_a_batch(log, indexed):
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
def test_over_any_ages_ties_and_batch_sizes(log, hours, indexed, rows):
    """Many rows of one instant, fewer than a batch, none at all: what is left is exactly what is young."""
    log.database.run("TRUNCATE public.log; DROP INDEX IF EXISTS public.log_at_idx")
    if indexed:
        log.database.run("CREATE INDEX log_at_idx ON public.log (at)")
    edge = datetime.now(UTC) - timedelta(days=30)
    with log.database.admin.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO public.log VALUES (%s, %s)",
            [(n, edge + timedelta(hours=h or 1)) for n, h in enumerate(hours)],
        )
    log.extra = f"[governor]\nbatch_rows = {rows}\n" + TABLE
    run = log.run("log_cleanup")
    assert run["state"] == "finished"
    left = {row["id"] for row in log.database.rows("SELECT id FROM public.log")}
    assert left == {n for n, h in enumerate(hours) if (h or 1) > 0}


@pytest.mark.parametrize("type_", ["date", "timestamp", "timestamptz"])
def test_every_type_of_age_and_infinity_stays(house, type_):
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


def test_a_partitioned_table(house):
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


def test_a_trigger_that_keeps_the_rows_makes_it_ineffective(log):
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


def test_rows_that_would_pull_others_along_are_not_deleted(log):
    fill(log, 5)
    log.database.run(
        "CREATE TABLE public.child (id int, log_id bigint REFERENCES public.log ON DELETE CASCADE)"
    )
    run = log.run("log_cleanup")
    assert run["state"] == "failed"
    assert "public.child" in run["reason"]
    assert log.database.value("SELECT count(*) FROM public.log") == 15


@pytest.mark.parametrize("listed", ["public.log", "public.log_old"])
def test_nor_by_a_key_to_another_part_of_the_tree(house, listed):
    """The key may point to the root or to a leaf, and either of them may be listed."""
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
def test_tables_that_inherit_from_a_listed_one_are_not_listed(log, indexed):
    if indexed:
        log.database.run("CREATE INDEX ON public.log (at)")
    log.database.run("CREATE TABLE public.heir () INHERITS (public.log)")
    fill(log, 20)
    log.database.run("INSERT INTO public.heir SELECT 99, now() - interval '99 days'")
    assert log.run("log_cleanup")["steps"][0]["rows"] == 20
    assert log.database.value("SELECT count(*) FROM public.heir") == 1


def test_a_trigger_that_keeps_the_oldest_does_not_keep_the_rest(log):
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


def test_a_planted_owner_table_is_never_read(house):
    """A view over a function of the users' in the place of sereno.owner: it is refused before it is looked at."""
    house.with_logins = False
    house.extra = TABLE
    run = house.database.run
    run(
        "CREATE TABLE public.log (id int, at timestamptz); CREATE TABLE public.ran (a int); CREATE SCHEMA sereno"
    )
    run(
        "CREATE FUNCTION public.evil() RETURNS text LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.ran VALUES (1); RETURN 'x'; END $$"
    )
    run("CREATE VIEW sereno.owner AS SELECT public.evil() AS instance_id, 'x' AS instance_name")
    path = house.write()
    path.write_text(
        path.read_text().replace(
            "[schedules.daily]", "allow_privileged_dml = true\n[schedules.daily]", 1
        )
    )
    house.write = lambda: path
    assert "not the table that sereno created" in house.run("log_cleanup")["reason"]
    assert house.database.value("SELECT count(*) FROM public.ran") == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("DROP TABLE public.log", "no such table"),
        ("ALTER TABLE public.log DROP COLUMN at", "no column"),
        ("ALTER TABLE public.log ALTER at TYPE text", "is text"),
    ],
)
def test_drift_is_named_and_nothing_is_deleted(log, change, said):
    fill(log, 5)
    log.database.run(change)
    run = log.run("log_cleanup")
    assert run["state"] == "failed"
    assert said in run["reason"]


def test_a_window_ends_the_work_and_the_next_night_goes_on(log):
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


def test_a_window_cuts_a_batch_that_is_too_slow(log):
    """One batch longer than the window: statement_timeout is what is left of the window, and the batch is undone."""
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


HOSTILE = """
CREATE FUNCTION public.attack() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  BEGIN EXECUTE format('ALTER ROLE %I SUPERUSER', 'alice_{0}'); EXCEPTION WHEN OTHERS THEN NULL; END;
  BEGIN PERFORM set_config('role', 'none', false); DROP TABLE public.treasure; EXCEPTION WHEN OTHERS THEN NULL; END;
  BEGIN DELETE FROM public.treasure; EXCEPTION WHEN OTHERS THEN NULL; END;
  RETURN OLD;
END $$;
CREATE TRIGGER attacks BEFORE DELETE ON public.log FOR EACH ROW EXECUTE FUNCTION public.attack();
"""


def hostile(house):
    """Alice owns the log and plants the trigger; bob owns the treasure."""
    alice, bob = f"alice_{house.maintain}", f"bob_{house.maintain}"
    for role in (alice, bob):
        house.database.run(f"CREATE ROLE {role} LOGIN")
    house.database.run(f"GRANT ALL ON SCHEMA public TO {alice}")
    house.database.run(f"ALTER TABLE public.log OWNER TO {alice}")
    house.database.run("CREATE TABLE public.treasure AS SELECT 1 AS gold")
    house.database.run(f"ALTER TABLE public.treasure OWNER TO {bob}")
    with house.database.connect(alice, autocommit=True) as connection:
        connection.execute(HOSTILE.format(house.maintain))
    return alice


def harmed(house, alice):
    superuser = house.database.value("SELECT rolsuper FROM pg_roles WHERE rolname = %s", alice)
    return superuser or house.database.value("SELECT to_regclass('public.treasure') IS NULL") or house.database.value("SELECT count(*) FROM public.treasure") == 0  # fmt: skip


def test_a_hostile_trigger_gains_nothing(log):
    alice = hostile(log)
    fill(log, 20)
    run = log.run("log_cleanup")
    assert (run["state"], run["steps"][0]["rows"]) == ("finished", 20)
    assert not harmed(log, alice)


def test_a_superuser_is_refused_and_nothing_is_deleted(log):
    alice = hostile(log)
    fill(log, 20)
    log.data = "postgres"
    run = log.run("log_cleanup")
    assert run["state"] == "failed"
    assert "SUPERUSER" in run["reason"]
    assert log.database.value("SELECT count(*) FROM public.log") == 30
    assert not harmed(log, alice)


def test_the_injection_is_real(log):
    """What the refusal is for: told to go on all the same, the superuser's login is taken over."""
    alice = hostile(log)
    fill(log, 20)
    log.data = "postgres"
    path = log.write()
    path.write_text(
        path.read_text().replace(
            "[schedules.daily]", "allow_privileged_dml = true\n[schedules.daily]", 1
        )
    )
    log.write = lambda: path
    assert log.run("log_cleanup")["steps"][0]["rows"] == 20
    assert harmed(log, alice)


@pytest.mark.parametrize(
    ("rights", "said"),
    [("CREATEROLE", "CREATEROLE"), ("REPLICATION", "REPLICATION"), ("BYPASSRLS", "BYPASSRLS")],
)
def test_each_dangerous_right_is_refused(log, rights, said):
    fill(log, 1)
    log.database.run(f"ALTER ROLE {log.data} {rights}")
    run = log.run("log_cleanup")
    assert run["state"] == "failed"
    assert said in run["reason"]


def test_membership_in_a_superuser_role_is_refused(log):
    fill(log, 1)
    log.database.run(f"CREATE ROLE dba_{log.data} SUPERUSER; GRANT dba_{log.data} TO {log.data}")
    assert "SUPERUSER" in log.run("log_cleanup")["reason"]
    log.database.run(f"DROP ROLE dba_{log.data}")


def test_the_owner_of_a_schema_is_refused(log):
    fill(log, 1)
    log.database.run(f"CREATE SCHEMA his AUTHORIZATION {log.data}")
    assert "the rights of the owner" in log.run("log_cleanup")["reason"]


def test_a_member_of_an_owner_is_refused(log):
    fill(log, 1)
    log.database.run(f"GRANT {hostile(log)} TO {log.data}")
    assert "the rights of the owner alice_" in log.run("log_cleanup")["reason"]


def test_a_copy_of_the_configuration_deletes_nothing(log):
    """A staging clone: the same file, another state; the database belongs to somebody else."""
    fill(log, 5)
    (log.folder / "state.db").unlink()
    run = log.run("log_cleanup")
    assert run["state"] == "failed"
    assert "belongs to another sereno" in run["reason"]
    assert log.database.value("SELECT count(*) FROM public.log") == 15
    log.sereno("trust", "main", "--yes")
    assert log.run("log_cleanup")["state"] == "finished"


def test_without_the_schema_deleting_is_refused_and_looking_works(house):
    house.with_logins = False
    house.database.run("CREATE TABLE public.log (id int, at timestamptz)")
    house.extra = TABLE
    assert "sereno install main" in house.run("log_cleanup")["reason"]
    assert house.run("integrity_check")["state"] == "finished"


@pytest.mark.usefixtures("few_attempts")
def test_a_locked_table_is_skipped_and_the_blocker_is_named(log):
    fill(log, 5)
    with log.database.connect(application_name="the blocker") as other:
        other.execute("LOCK TABLE public.log IN SHARE MODE")
        run = log.run("log_cleanup")
        (step,) = run["steps"]
        assert step["status"] == "skipped"
        assert f"pid {other.info.backend_pid} (the blocker)" in step["reason"]
    assert log.run("log_cleanup")["steps"][0]["rows"] == 5


def test_a_lock_waiter_pauses_a_running_clean_up(log, wait):
    """Somebody waits behind a batch of ours: the next one does not begin at once, and the history says why."""
    fill(log, 600)
    log.extra = '[governor]\nbatch_rows = 200\nbatch = "5s"\n' + TABLE
    log.database.run(
        "CREATE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.3); RETURN NULL; END $$"
    )
    log.database.run(
        "CREATE TRIGGER slow AFTER DELETE ON public.log FOR EACH STATEMENT EXECUTE FUNCTION public.slow()"
    )
    done = threading.Event()

    def stand_in_line():
        with log.database.connect(autocommit=True) as other:
            while not done.is_set():
                other.execute(
                    "DO $$ BEGIN LOCK TABLE public.log IN SHARE ROW EXCLUSIVE MODE; END $$"
                )

    waiter = threading.Thread(target=stand_in_line)
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


@pytest.mark.parametrize(("pace", "least"), [("full", 1.0), ("gentle", 1.8)])
def test_gentle_leaves_the_others_as_long_as_a_batch_took(log, pace, least):
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
    assert step["seconds"] >= least


def test_a_flag_file_and_sereno_pause_hold_a_running_clean_up(log, wait):
    flag = log.folder / "hold"
    log.extra = f'[governor]\nflag_file = "{flag}"\nbatch_rows = 100\n' + TABLE
    fill(log, 2000)
    flag.touch()
    result = {}
    runner = threading.Thread(target=lambda: result.update(log.run("log_cleanup")))
    runner.start()
    try:
        working = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'sereno/log_cleanup' AND state = 'idle' AND query LIKE '%%pg_replication_slots%%'"
        wait(lambda: log.database.rows(working), what="the governor's look")
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


def test_it_runs_only_where_something_is_to_be_cleaned(house):
    house.with_logins = False
    assert [run["job"] for run in json.loads(house.sereno("now", "daily", "--json").stdout)] == [
        "analyze",
        "disk_check",
        "disk_check",
        "integrity_check",
    ]


def test_files_too(house, tmp_path, monkeypatch):
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
    )  # the inode's own time cannot be set back
    run = house.run("log_cleanup", Scope.HOST)
    assert (run["state"], run["steps"][0]["rows"], run["steps"][0]["bytes"]) == ("finished", 3, 300)
    assert len(list(folder.iterdir())) == 2
