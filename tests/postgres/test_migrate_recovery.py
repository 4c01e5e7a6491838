"""Migrations that were stopped, disturbed or deceived: each state has a way out, nothing runs twice."""

import shutil
import threading
import time

import psycopg
import pytest

from tests.postgres.migration_folder import PREPARE, Migrating

ID = Migrating.ID
BUILDING = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY a2%' AND wait_event_type = 'Lock'"


def test_file_that_failed_and_changed_nothing_is_not_undone(migrating):
    migrating.write({"prepare.sql": "ALTER TABLE users ADD COLUMN migrated nosuchtype;\n"})
    assert migrating.migrate("apply", ID, "--yes").returncode == 1
    assert migrating.state() == ("rolled_back", "")
    migrating.write()
    assert migrating.migrate("apply", ID, "--yes").returncode == 0


def test_rollback_that_failed_its_verification_can_be_verified_again(migrating):
    migrating.write({"prepare.rollback.sql": "DROP TABLE new_table;\n"})
    migrating.migrate("apply", ID, "--yes", "--until", "prepare")
    assert migrating.migrate("rollback", ID, "--yes").returncode == 1
    assert migrating.state() == ("rollback_failed", "")
    migrating.database.run("ALTER TABLE public.users DROP COLUMN migrated")
    again = migrating.migrate("rollback", ID, "--yes")
    assert again.returncode == 0, again.stdout + again.stderr
    assert migrating.state() == ("rolled_back", "")


def test_rollback_that_goes_on_undoes_no_more_than_it_was_told(migrating):
    migrating.migrate("apply", ID, "--yes", "--until", "data")
    migrating.database.run(
        f"SET ROLE {migrating.owner}; CREATE TABLE public.app_partition (id int); RESET ROLE"
    )
    assert migrating.migrate("rollback", ID, "--yes", "--until", "data").returncode == 1
    assert migrating.state() == ("rollback_failed", "prepare")
    assert migrating.migrate("rollback", ID, "--yes").returncode == 1, "the catalog still differs"
    accepted = migrating.migrate("rollback", ID, "--yes", "--accept")
    assert accepted.returncode == 0, accepted.stdout + accepted.stderr
    assert migrating.state() == ("rolled_back", "prepare")
    assert migrating.database.rows("SELECT FROM pg_class WHERE relname = 'new_table'")


def test_interrupted_rollback_is_no_pause_of_the_migration(migrating, wait):
    migrating.database.run(
        f"SET ROLE {migrating.owner}; CREATE TABLE public.slow AS SELECT 20 AS seconds; RESET ROLE"
    )
    slow = PREPARE["tighten.rollback.notx.sql"] + "SELECT pg_sleep(seconds) FROM slow;\n"
    migrating.write({"tighten.rollback.notx.sql": slow})
    migrating.migrate("apply", ID, "--yes")
    process = migrating.house.start("migrate", "rollback", ID, "--yes", "--until", "tighten")
    sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%FROM slow%' AND application_name = 'sereno/migrate'"
    wait(lambda: migrating.database.value(sleeping) > 0)
    assert migrating.migrate("pause", ID).returncode == 0
    process.wait(60)
    assert migrating.state()[0] == "rolling_back"
    refused = migrating.migrate("resume", ID)
    assert refused.returncode == 2
    assert "is rolling_back" in refused.stderr
    migrating.database.run("UPDATE public.slow SET seconds = 0")
    assert migrating.migrate("rollback", ID, "--yes", timeout=90).returncode == 0
    assert migrating.state() == ("rolled_back", "data")


def holding(migrating):
    """Return a session whose lock keeps a concurrent build of an index on users waiting."""
    holder = psycopg.connect(migrating.database.dsn)
    holder.execute("LOCK TABLE public.users IN ROW EXCLUSIVE MODE")
    return holder


def second_index(migrating, first):
    """Write a tighten phase of one statement and a concurrent index, up to which data is applied."""
    migrating.write(
        {
            "tighten.10.sql": None,
            "tighten.20.notx.sql": f"{first}CREATE INDEX CONCURRENTLY a2 ON users (name);\n",
            "tighten.rollback.notx.sql": "DROP INDEX CONCURRENTLY IF EXISTS a2;\n",
        }
    )
    migrating.migrate("apply", ID, "--yes", "--until", "data")


def test_statements_that_are_done_do_not_run_again_when_a_build_gives_way(migrating, wait):
    database = migrating.database
    database.run(
        f"SET ROLE {migrating.owner}; CREATE TABLE public.counted (n int); INSERT INTO public.counted VALUES (0); RESET ROLE"
    )
    second_index(migrating, "UPDATE counted SET n = n + 1;\n")
    holder = holding(migrating)
    process = migrating.house.start("migrate", "apply", ID, "--yes")
    wait(lambda: database.value(BUILDING) > 0)

    def waiter():
        with psycopg.connect(database.dsn) as connection:
            connection.execute("SET lock_timeout = '20s'")
            connection.execute("LOCK TABLE public.users IN SHARE UPDATE EXCLUSIVE MODE")

    thread = threading.Thread(target=waiter)
    thread.start()
    wait(lambda: database.value(BUILDING) == 0, what="the build gives way")
    holder.rollback()
    holder.close()
    thread.join()
    assert process.wait(90) == 0
    assert database.value("SELECT n FROM public.counted") == 1
    assert database.value(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = 'public.a2'::regclass"
    )


def test_build_that_was_stopped_is_paused_and_goes_on(migrating, wait):
    second_index(migrating, "")
    holder = holding(migrating)
    process = migrating.house.start("migrate", "apply", ID, "--yes")
    wait(lambda: migrating.database.value(BUILDING) > 0)
    threading.Timer(3, holder.rollback).start()
    migrating.migrate("pause", ID)
    assert process.wait(60) == 3
    assert migrating.state() == ("paused", "data")
    assert migrating.migrate("resume", ID).returncode == 0
    assert migrating.database.value(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = 'public.a2'::regclass"
    )
    holder.close()


def test_detach_that_was_interrupted_is_finished(migrating, wait):
    database = migrating.database
    database.run(
        f"SET ROLE {migrating.owner}; CREATE TABLE public.parted (id int) PARTITION BY LIST (id);"
        "CREATE TABLE public.part1 PARTITION OF public.parted FOR VALUES IN (1); RESET ROLE"
    )
    migrating.write(
        {
            "tighten.10.sql": None,
            "tighten.20.notx.sql": "ALTER TABLE parted DETACH PARTITION part1 CONCURRENTLY;\n",
            "tighten.rollback.notx.sql": "SELECT 1;\n",
        }
    )
    migrating.migrate("apply", ID, "--yes", "--until", "data")
    holder = psycopg.connect(database.dsn)
    holder.execute("SELECT * FROM public.parted")
    process = migrating.house.start("migrate", "apply", ID, "--yes")
    wait(lambda: database.value("SELECT count(*) FROM pg_inherits WHERE inhdetachpending") > 0)
    migrating.migrate("pause", ID)
    process.wait(60)
    holder.close()
    done = migrating.migrate("resume", ID)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (
        database.value("SELECT count(*) FROM pg_inherits WHERE inhrelid = 'public.part1'::regclass")
        == 0
    )


def test_dropped_index_in_a_file_without_transaction_holds_nobody_up(migrating):
    database = migrating.database
    database.run(
        f"SET ROLE {migrating.owner}; CREATE INDEX victim ON public.users (name); RESET ROLE"
    )
    migrating.write(
        {
            "tighten.10.sql": None,
            "tighten.20.notx.sql": "DROP INDEX victim;\n",
            "tighten.rollback.notx.sql": "SELECT 1;\n",
        }
    )
    migrating.house.extra += 'lock_budget = "4s"\n'
    migrating.migrate("apply", ID, "--yes", "--until", "data")
    longest = 0.0
    with (
        psycopg.connect(database.dsn) as holder,
        psycopg.connect(database.dsn, autocommit=True) as reader,
    ):
        holder.execute("SELECT count(*) FROM public.users")
        process = migrating.house.start("migrate", "apply", ID, "--yes")
        while process.poll() is None:
            began = time.monotonic()
            reader.execute("SELECT 1 FROM public.users LIMIT 1")
            longest = max(longest, time.monotonic() - began)
            time.sleep(0.02)
    assert process.returncode == 5
    assert longest < 0.3 + 0.7, "the rung, and some room for a busy machine"


def test_killed_run_can_be_cancelled_at_once(migrating, wait):
    slow = PREPARE["migration.toml"] + 'pause = 100\ntarget = "1ms"\n'
    migrating.write({"migration.toml": slow})
    process = migrating.house.start("migrate", "apply", ID, "--yes")
    wait(lambda: migrating.database.value("SELECT count(*) FROM sereno.migration_batch") > 0)
    process.kill()
    process.wait()
    assert "its process ended" in migrating.status()["reason"]
    began = time.monotonic()
    cancelled = migrating.migrate("cancel", ID, timeout=90)
    assert cancelled.returncode == 0, cancelled.stdout + cancelled.stderr
    assert time.monotonic() - began < 60
    assert migrating.state() == ("rolled_back", "prepare")


def test_key_that_may_be_null_is_refused(migrating):
    migrating.database.run(
        f"SET ROLE {migrating.owner}; ALTER TABLE public.users ADD COLUMN k int; UPDATE public.users SET k = id WHERE id > 3; RESET ROLE"
    )
    migrating.write(
        {"migration.toml": PREPARE["migration.toml"].replace('key = "id"', 'key = "k"')}
    )
    assert migrating.migrate("apply", ID, "--yes", "--until", "data").returncode == 1
    assert "the key k of public.users has to be NOT NULL" in migrating.status()["reason"]


def test_another_table_for_a_walk_that_has_begun_is_refused(migrating):
    migrating.write(
        {
            "prepare.sql": PREPARE["prepare.sql"]
            + "ALTER TABLE new_table ADD CHECK (note <> 'user 777');\n"
        }
    )
    migrating.migrate("apply", ID, "--yes")
    other = PREPARE["migration.toml"].replace('table = "public.users"', 'table = "public.other"')
    migrating.write({"migration.toml": other})
    refused = migrating.migrate("resume", ID)
    assert refused.returncode == 2
    assert "data.10_fill.batch.sql was edited" in refused.stderr


def test_file_that_comes_too_late_is_refused(migrating):
    migrating.migrate("apply", ID, "--yes", "--until", "data")
    migrating.write({"prepare.20_more.sql": "CREATE TABLE forgotten (id int);\n"})
    refused = migrating.migrate("apply", ID, "--yes")
    assert refused.returncode == 2
    assert "prepare.20_more.sql was edited or added" in refused.stderr


def test_resume_goes_on_after_a_phase_that_was_asked_for_and_not_after_a_rollback(migrating):
    migrating.migrate("apply", ID, "--yes", "--until", "data")
    assert migrating.state() == ("paused", "data")
    assert migrating.migrate("resume", ID).returncode == 0
    assert migrating.state() == ("waiting_gate", "tighten")
    migrating.migrate("rollback", ID, "--yes")
    refused = migrating.migrate("resume", ID)
    assert refused.returncode == 2
    assert "sereno migrate plan" in refused.stderr


def test_table_whose_rows_would_be_lost_is_not_dropped(migrating):
    hidden = "DO $$ BEGIN DROP TABLE new_table; END $$;\nALTER TABLE users DROP COLUMN migrated;\n"
    migrating.write({"prepare.rollback.sql": hidden})
    migrating.migrate("apply", ID, "--yes", "--until", "data")
    assert migrating.migrate("rollback", ID, "--yes").returncode == 1
    assert "its rows were not archived" in migrating.status()["reason"]
    assert migrating.database.value("SELECT count(*) FROM public.new_table") == 1000
    migrating.write(
        {"prepare.rollback.sql": None, "prepare.rollback.notx.sql": "DROP TABLE new_table;\n"}
    )
    refused = migrating.migrate("plan", ID)
    assert refused.returncode == 2
    assert "prepare.rollback.notx.sql:1: DROP TABLE" in refused.stderr


def test_rollback_needs_no_folder_at_all(migrating):
    migrating.migrate("apply", ID, "--yes", "--until", "prepare")
    shutil.rmtree(migrating.folder)
    done = migrating.migrate("rollback", ID, "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert migrating.state() == ("rolled_back", "")


FORGED = """
  BEGIN
    INSERT INTO sereno.migration_step (run, migration, phase, file, checksum, statement, state, attempts, milliseconds, rows, reason)
    VALUES ('forged', '0003_touch', 'x', 'x', 'x', 0, 'done', 1, 0, 0, '');
  EXCEPTION WHEN OTHERS THEN NULL;
  END;
"""
FORGERIES = "SELECT count(*) FROM sereno.migration_step WHERE run = 'forged'"


def test_functions_of_the_owner_do_not_replace_those_of_the_server(migrating):
    migrating.database.run(
        f"""
        CREATE FUNCTION public.pg_try_advisory_lock(integer, smallint) RETURNS boolean LANGUAGE plpgsql AS $$
        BEGIN {FORGED} RETURN true; END $$;
        CREATE FUNCTION public.format(text, name, "char") RETURNS text LANGUAGE plpgsql AS $$
        BEGIN {FORGED} RETURN NULL; END $$;
        ALTER FUNCTION public.pg_try_advisory_lock(integer, smallint) OWNER TO {migrating.owner};
        ALTER FUNCTION public.format(text, name, "char") OWNER TO {migrating.owner};
        """
    )
    applied = migrating.migrate("apply", ID, "--yes")
    assert applied.returncode == 0, applied.stdout + applied.stderr
    assert migrating.database.value(FORGERIES) == 0


def test_role_that_is_left_behind_hides_no_forgery(migrating):
    migrating.write(
        {
            "migration.toml": 'title = "touch"\n',
            "prepare.sql": "INSERT INTO users VALUES (5000, 'new');",
            "prepare.check.sql": "-- @check none\nSELECT 1 WHERE false;",
            "prepare.rollback.sql": "DELETE FROM users WHERE id = 5000;",
        },
        "0003_touch",
    )
    migrating.database.run(
        f"""
        CREATE FUNCTION public.late() RETURNS int LANGUAGE plpgsql VOLATILE AS $$
        BEGIN {FORGED} RETURN 1; END $$;
        CREATE FUNCTION public.plant() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          EXECUTE 'DECLARE held CURSOR WITH HOLD FOR SELECT public.late()';
          PERFORM pg_catalog.set_config('role', '{migrating.owner}', false);
          RETURN NULL;
        END $$;
        ALTER FUNCTION public.late() OWNER TO {migrating.owner};
        ALTER FUNCTION public.plant() OWNER TO {migrating.owner};
        CREATE TRIGGER plant AFTER INSERT ON public.users FOR EACH ROW EXECUTE FUNCTION public.plant()
        """
    )
    assert migrating.migrate("apply", "0003_touch", "--yes").returncode == 1
    assert migrating.state("0003_touch")[0] == "tampered"
    if migrating.database.value(FORGERIES):
        assert migrating.migrate("resume", "0003_touch").returncode == 2


CHANGES = {
    "partition key": ("CREATE TABLE p (a int, b int) PARTITION BY RANGE (a)", "DROP TABLE p; CREATE TABLE p (a int, b int) PARTITION BY RANGE (b)"),
    "owner of a sequence": ("CREATE SEQUENCE s; CREATE TABLE q (a int)", "ALTER SEQUENCE s OWNED BY q.a"),
    "comment of a constraint": ("CREATE TABLE q (a int CONSTRAINT c CHECK (a > 0))", "COMMENT ON CONSTRAINT c ON q IS 'x'"),
    "comment of an index": ("CREATE TABLE q (a int); CREATE INDEX i ON q (a)", "COMMENT ON INDEX i IS 'x'"),
    "comment of a function": ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "COMMENT ON FUNCTION f() IS 'x'"),
    "comment of a trigger": ("CREATE TABLE q (a int); CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END'; CREATE TRIGGER t AFTER INSERT ON q EXECUTE FUNCTION f()", "COMMENT ON TRIGGER t ON q IS 'x'"),
    "rights on a type": ("CREATE TYPE m AS ENUM ('a')", "REVOKE USAGE ON TYPE m FROM PUBLIC"),
    "comment of a type": ("CREATE DOMAIN m AS int", "COMMENT ON DOMAIN m IS 'x'"),
    "comment of a policy": ("CREATE TABLE q (a int); CREATE POLICY l ON q", "COMMENT ON POLICY l ON q IS 'x'"),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_catalog_that_is_compared_has(migrating, change):
    from migrations.catalog_state import read_catalog
    from postgres.session import MAINTAIN, open_session

    before, after = CHANGES[change]
    target = migrating.house.context().target("main")

    def catalog():
        with open_session(target, MAINTAIN, "probe") as session:
            return read_catalog(session, migrating.owner)

    migrating.database.run(f"SET ROLE {migrating.owner}; {before}; RESET ROLE")
    first = catalog()
    assert catalog() == first
    migrating.database.run(f"SET ROLE {migrating.owner}; {after}; RESET ROLE")
    assert catalog() != first
