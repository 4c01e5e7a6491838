"""Migrations on a server: phases, gates, resume, rollback, refusals, hostile owners."""

import json
import shutil
import signal
import time

import psycopg
import pytest

from tests.postgres.migration_folder import PREPARE, Migrating

ID = Migrating.ID


def test_migration_is_applied_up_to_its_gate_and_rolled_back(any_migrating):
    migrating = any_migrating
    planned = migrating.migrate("plan", ID)
    assert planned.returncode == 0, planned.stderr
    applied = migrating.migrate("apply", ID, "--yes")
    assert applied.returncode == 0, applied.stdout + applied.stderr
    assert migrating.state() == ("waiting_gate", "tighten")
    assert migrating.database.value("SELECT count(*) FROM public.new_table") == 1000
    progress = json.loads(migrating.migrate("progress", ID, "--json").stdout)[0]
    assert (progress["done"], progress["percent"]) == (1000, 100)
    closed = migrating.migrate("apply", ID, "--yes")
    assert closed.returncode == 4, closed.stdout + closed.stderr
    cleaned = migrating.migrate("apply", ID, "--yes", "--until", "cleanup")
    assert cleaned.returncode == 0, cleaned.stdout + cleaned.stderr
    assert migrating.state() == ("done", "cleanup")
    shutil.rmtree(migrating.folder / ID)
    back = migrating.migrate("rollback", ID, "--yes")
    assert back.returncode == 0, back.stdout + back.stderr
    assert (
        "1,000 rows of public.new_table kept in public.sereno_archive_0001_new_table_1"
        in " ".join(back.stdout.split())
    )
    assert migrating.state() == ("rolled_back", "")
    kept = migrating.database.value("SELECT count(*) FROM public.sereno_archive_0001_new_table_1")
    assert kept == 1000


def test_phases_go_one_by_one_and_rollback_stops_where_it_is_told(migrating):
    for phase in ("prepare", "data", "tighten"):
        assert migrating.migrate("apply", ID, "--yes", "--until", phase).returncode == 0
        assert migrating.state()[1] == phase
    assert migrating.migrate("rollback", ID, "--yes", "--until", "data").returncode == 0
    assert migrating.state() == ("rolled_back", "prepare")
    assert migrating.migrate("apply", ID, "--yes").returncode == 0
    assert migrating.state() == ("waiting_gate", "tighten")


def test_run_goes_on_in_history_and_on_whose_account(migrating, monkeypatch):
    monkeypatch.setenv("SERENO_TOKEN", migrating.principal("ana", "execute"))
    done = migrating.migrate("apply", ID, "--yes", "--as", "ana", "--reason", "ticket 7")
    assert done.returncode == 0, done.stderr
    with migrating.house.context().store.reading() as transaction:
        row = transaction.row("SELECT * FROM run WHERE job = 'migrate'")
    assert (row["subject"], row["principal"], row["request_reason"]) == (ID, "ana", "ticket 7")
    ledger = migrating.database.rows("SELECT * FROM sereno.migration_run")[0]
    assert (ledger["principal"], ledger["reason"]) == ("ana", "ticket 7")


def test_failed_statement_undoes_its_phase_alone_and_alerts_critically(migrating):
    migrating.write(
        {"tighten.10.sql": "ALTER TABLE users ADD CONSTRAINT c CHECK (nothing) NOT VALID;"}
    )
    failed = migrating.migrate("apply", ID, "--yes")
    assert failed.returncode == 1, failed.stdout
    assert migrating.state() == ("rolled_back", "data")
    assert 'column "nothing" does not exist' in migrating.status()["reason"]
    with migrating.house.context().store.reading() as transaction:
        alert = transaction.row("SELECT severity FROM alert WHERE kind = 'migration_failed'")
    assert alert["severity"] == "critical"
    migrating.write()
    again = migrating.migrate("apply", ID, "--yes")
    assert again.returncode == 0, again.stdout + again.stderr
    assert migrating.state() == ("waiting_gate", "tighten")


def test_check_with_violations_undoes_its_phase(migrating):
    check = "-- @check no_user_7\nSELECT id FROM users WHERE id = 7;\n"
    migrating.write({"data.check.sql": check})
    failed = migrating.migrate("apply", ID, "--yes")
    assert failed.returncode == 1
    assert migrating.state() == ("rolled_back", "prepare")
    assert "no_user_7: 1 row, the first id 7" in migrating.status()["reason"]


def test_warning_of_a_check_stops_nothing(migrating):
    migrating.write(
        {"data.check.sql": "-- @check no_user_7 warn\nSELECT id FROM users WHERE id = 7;\n"}
    )
    assert migrating.migrate("apply", ID, "--yes").returncode == 0


def test_value_that_has_to_stay_the_same_is_compared(migrating):
    migrating.write(
        {"data.10_fill.batch.sql": PREPARE["data.10_fill.batch.sql"] + "DELETE FROM users WHERE id BETWEEN :lo AND :hi AND id > 990 AND false;\n",
         "data.check.sql": "-- @same names\nSELECT sum(length(note)) FROM (SELECT note FROM new_table UNION ALL SELECT '') n;\n"}
    )  # fmt: skip
    failed = migrating.migrate("apply", ID, "--yes")
    assert failed.returncode == 1
    assert "names is not the same as before the phase" in migrating.status()["reason"]


def test_key_that_fails_alone_is_named_and_nothing_is_undone(migrating):
    migrating.write(
        {
            "prepare.sql": PREPARE["prepare.sql"]
            + "ALTER TABLE new_table ADD CHECK (note <> 'user 777');\n"
        }
    )
    failed = migrating.migrate("apply", ID, "--yes")
    assert failed.returncode == 1
    assert migrating.state() == ("failed", "prepare")
    assert "the key id = 777 of public.users fails alone" in migrating.status()["reason"]
    migrating.database.run("UPDATE public.users SET name = 'corrected' WHERE id = 777")
    done = migrating.migrate("resume", ID)
    assert done.returncode == 0, done.stdout + done.stderr
    batches = migrating.database.rows("SELECT sum(keys)::int AS keys FROM sereno.migration_batch")
    assert batches[0]["keys"] == 1000, "nothing twice"


def test_edited_comment_is_no_drift_and_edited_literal_is(migrating):
    assert migrating.migrate("apply", ID, "--yes", "--until", "prepare").returncode == 0
    migrating.write({"prepare.sql": "-- licence\n\n" + PREPARE["prepare.sql"]})
    assert migrating.migrate("apply", ID, "--yes", "--until", "data").returncode == 0
    migrating.write({"prepare.sql": PREPARE["prepare.sql"].replace("note text", "note varchar(9)")})
    refused = migrating.migrate("apply", ID, "--yes")
    assert refused.returncode == 2
    assert "prepare.sql was edited or added after its phase was applied" in refused.stderr


def test_plan_that_has_changed_is_refused(migrating):
    shown = json.loads(migrating.migrate("plan", ID, "--json").stdout)
    migrating.write(
        {"prepare.sql": PREPARE["prepare.sql"] + "ALTER TABLE users ADD COLUMN more int;\n"}
    )
    refused = migrating.migrate("apply", ID, "--plan", shown["hash"])
    assert refused.returncode == 2
    assert "the plan is" in refused.stderr
    assert migrating.state() == ("pending", "")


def test_apply_without_a_plan_is_refused_where_nobody_can_be_asked(migrating):
    refused = migrating.migrate("apply", ID)
    assert refused.returncode == 2
    assert "--plan HASH" in refused.stderr
    assert migrating.state() == ("pending", "")


def test_required_migration_comes_first(migrating):
    second = {**PREPARE, "migration.toml": 'title = "later"\nrequires = ["0001_second_table"]\n'}
    names = ("migration.toml", "prepare.sql", "prepare.check.sql", "prepare.rollback.sql")
    files = {name: second[name] for name in names}
    files["prepare.sql"] = "CREATE TABLE later (id int);"
    files["prepare.check.sql"] = "-- @check none\nSELECT 1 WHERE false;"
    files["prepare.rollback.sql"] = "DROP TABLE later;"
    migrating.write(files, "0002_later")
    refused = migrating.migrate("apply", "0002_later", "--yes")
    assert refused.returncode == 2
    assert "requires 0001_second_table, which is pending" in refused.stderr
    assert migrating.migrate("apply", ID, "--yes").returncode == 0
    assert migrating.migrate("apply", "0002_later", "--yes").returncode == 0


FORGE = """
CREATE FUNCTION public.forge() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  SET ROLE none;
  INSERT INTO sereno.migration (migration, format, title, type, checksum, phase, state, run, reason)
  VALUES ('0009_forged', 1, 't', 'schema', 'c', 'purge', 'purged', 'r', '');
  {then}
  RETURN NULL;
END $$;
CREATE {kind} TRIGGER forge AFTER INSERT ON public.users {when} FOR EACH ROW EXECUTE FUNCTION public.forge();
"""
TOUCH = {
    "migration.toml": 'title = "touch"\n',
    "prepare.sql": "INSERT INTO users VALUES (5000, 'new');",
    "prepare.check.sql": "-- @check none\nSELECT 1 WHERE false;",
    "prepare.rollback.sql": "DELETE FROM users WHERE id = 5000;",
}


@pytest.mark.parametrize(
    "then", ["", "EXECUTE format('SET ROLE %I', '{owner}');"], ids=["stays", "and returns"]
)
def test_trigger_that_forges_the_ledger_is_noticed_before_commit(migrating, then):
    migrating.write(TOUCH, "0003_touch")
    then = then.format(owner=migrating.owner)
    migrating.database.run(FORGE.format(then=then, kind="", when=""))
    migrating.database.run(f"ALTER FUNCTION public.forge() OWNER TO {migrating.owner}")
    failed = migrating.migrate("apply", "0003_touch", "--yes")
    assert failed.returncode == 1
    assert migrating.state("0003_touch") == ("tampered", "")
    assert "wrote into sereno.migration; rolled back" in migrating.status("0003_touch")["reason"]
    assert migrating.database.value("SELECT count(*) FROM public.users WHERE id = 5000") == 0
    assert "0009_forged" not in migrating.migrate("list").stdout


def test_rows_forged_at_commit_stop_the_runner_until_they_are_gone(migrating):
    migrating.write(TOUCH, "0003_touch")
    migrating.database.run(
        """
        CREATE FUNCTION public.late() RETURNS int LANGUAGE plpgsql VOLATILE AS $$
        BEGIN
          INSERT INTO sereno.migration (migration, format, title, type, checksum, phase, state, run, reason)
          VALUES ('0009_forged', 1, 't', 'schema', 'c', 'purge', 'purged', 'r', '');
          RETURN 1;
        EXCEPTION WHEN OTHERS THEN RETURN 0;
        END $$;
        CREATE FUNCTION public.plant() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          DECLARE held CURSOR WITH HOLD FOR SELECT public.late();
          RETURN NULL;
        END $$;
        """.replace("          DECLARE held", "          EXECUTE 'DECLARE held").replace("public.late();\n          RETURN", "public.late()';\n          RETURN")
    )  # fmt: skip
    migrating.database.run(
        f"ALTER FUNCTION public.late() OWNER TO {migrating.owner}; ALTER FUNCTION public.plant() OWNER TO {migrating.owner};"
        "CREATE TRIGGER plant AFTER INSERT ON public.users FOR EACH ROW EXECUTE FUNCTION public.plant()"
    )
    failed = migrating.migrate("apply", "0003_touch", "--yes")
    assert failed.returncode == 1, failed.stdout
    assert migrating.state("0003_touch")[0] == "tampered"
    refused = migrating.migrate("resume", "0003_touch")
    assert refused.returncode == 2
    assert "delete sereno.migration" in refused.stderr
    migrating.database.run("DELETE FROM sereno.migration WHERE migration = '0009_forged'")
    migrating.database.run("DROP TRIGGER plant ON public.users")
    done = migrating.migrate("resume", "0003_touch")
    assert done.returncode == 0, done.stdout + done.stderr
    assert migrating.database.value("SELECT count(*) FROM public.users WHERE id = 5000") == 1


def test_rows_of_another_writer_do_not_count(migrating):
    migrating.database.run(
        "INSERT INTO sereno.migration (migration, format, title, type, checksum, phase, state, run, reason)"
        f" VALUES ('{ID}', 1, 't', 'schema', 'c', 'purge', 'purged', 'r', '')"
    )
    assert migrating.state() == ("pending", "")


def test_ledger_of_a_newer_format_is_refused(migrating):
    assert migrating.migrate("apply", ID, "--yes", "--until", "prepare").returncode == 0
    migrating.database.run("UPDATE sereno.migration SET format = 2")
    refused = migrating.migrate("plan", ID)
    assert refused.returncode == 2
    assert "has format 2, this sereno knows 1" in refused.stderr


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("ALTER ROLE {login} CREATEROLE", "allowed to create roles"),
        ("CREATE ROLE {login}_b; GRANT {login}_b TO {login}", "is a member of {login}_b: code"),
        ("CREATE ROLE {login}_c; GRANT {login}_c TO {owner}", "is a member of {login}_c: code"),
        ("GRANT postgres TO {owner}", "postgres is a superuser"),
        ("ALTER ROLE {owner} BYPASSRLS", "{owner} is allowed to bypass"),
        ("ALTER ROLE {owner} SUPERUSER", "{owner} is a superuser"),
    ],
)
def test_login_with_more_rights_is_refused(migrating, change, expected):
    names = {"login": migrating.login, "owner": migrating.owner}
    migrating.database.run(change.format(**names))
    refused = migrating.migrate("apply", ID, "--yes")
    assert refused.returncode == 2, refused.stdout
    assert expected.format(**names) in refused.stderr
    installed = migrating.house.sereno(
        "install", "main", "--admin", migrating.database.dsn, check=False
    )
    assert installed.returncode == 2
    assert expected.format(**names) in installed.stderr


def test_login_by_itself_may_only_add_to_the_ledger(migrating):
    with migrating.database.connect(migrating.login, autocommit=True) as login:
        for statement in (
            "ALTER TABLE public.users ADD COLUMN x int",
            "SELECT * FROM public.users",
            "UPDATE sereno.migration SET state = 'done'",
            "DELETE FROM sereno.migration",
            "INSERT INTO sereno.migration (ordinal) OVERRIDING SYSTEM VALUE VALUES (1)",
            "INSERT INTO sereno.migration (written_by) VALUES ('x')",
            "SELECT * FROM sereno.claim",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                login.execute(statement)


def test_objects_belong_to_the_owner(migrating):
    migrating.migrate("apply", ID, "--yes", "--until", "prepare")
    assert (
        migrating.database.value(
            "SELECT relowner::regrole::text FROM pg_class WHERE relname = 'new_table'"
        )
        == migrating.owner
    )


def test_adopted_migration_is_complete_and_can_be_undone(migrating):
    database = migrating.database
    database.run(f"SET ROLE {migrating.owner}; {PREPARE['prepare.sql']} RESET ROLE")
    lacking = migrating.migrate("adopt", ID, "--phase", "prepare")
    assert "--reason is missing" in lacking.stderr
    done = migrating.migrate("adopt", ID, "--phase", "prepare", "--reason", "by hand")
    assert done.returncode == 0, done.stdout + done.stderr
    assert migrating.state() == ("paused", "prepare")
    assert migrating.migrate("rollback", ID, "--yes").returncode == 0
    assert not database.rows("SELECT FROM pg_class WHERE relname = 'new_table'")


def test_rollback_that_leaves_something_is_not_called_one(migrating):
    migrating.write({"prepare.rollback.sql": "DROP TABLE new_table;\n"})
    migrating.migrate("apply", ID, "--yes", "--until", "prepare")
    failed = migrating.migrate("rollback", ID, "--yes")
    assert failed.returncode == 1
    assert migrating.state()[0] == "rollback_failed"
    assert "+ column public.users 3 migrated boolean" in migrating.status()["reason"]
    assert migrating.migrate("apply", ID, "--yes").returncode == 2


def paused_batches(migrating):
    """Make the data phase take long: a rest of a hundred times each batch."""
    text = PREPARE["migration.toml"] + 'pause = 100\ntarget = "1ms"\n'
    migrating.write({"migration.toml": text})


def test_pause_stops_after_a_batch_and_resume_goes_on(migrating, wait):
    paused_batches(migrating)
    process = migrating.house.start("migrate", "apply", ID, "--yes")
    wait(lambda: migrating.database.value("SELECT count(*) FROM sereno.migration_batch") > 0)
    stopped = migrating.migrate("pause", ID)
    assert stopped.returncode == 0, stopped.stderr
    assert process.wait(30) == 3
    assert migrating.state() == ("paused", "prepare")
    migrating.write()
    assert migrating.migrate("resume", ID).returncode == 0
    keys = migrating.database.value("SELECT sum(keys)::int FROM sereno.migration_batch")
    assert keys == 1000


def test_cancel_undoes_the_phase_in_progress(migrating, wait):
    paused_batches(migrating)
    process = migrating.house.start("migrate", "apply", ID, "--yes")
    wait(lambda: migrating.database.value("SELECT count(*) FROM sereno.migration_batch") > 0)
    cancelled = migrating.migrate("cancel", ID, timeout=90)
    assert cancelled.returncode == 0, cancelled.stdout + cancelled.stderr
    assert process.wait(30) == 3
    assert migrating.state() == ("rolled_back", "prepare")


def test_second_runner_is_refused(migrating, wait):
    migrating.write({"prepare.sql": PREPARE["prepare.sql"] + "SELECT pg_sleep(60);"})
    process = migrating.house.start("migrate", "apply", ID, "--yes")
    sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND application_name = 'sereno/migrate'"
    wait(lambda: migrating.database.value(sleeping) > 0)
    second = migrating.migrate("resume", ID, timeout=90)
    assert second.returncode == 75, second.stdout + second.stderr
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 3
    assert migrating.state() == ("paused", "")


@pytest.mark.parametrize("file", ["prepare.sql", "data.10_fill.batch.sql", "tighten.20.notx.sql"])
def test_run_that_was_killed_goes_on_where_it_was(migrating, wait, file):
    sleeps = {
        "prepare.sql": "SELECT pg_sleep(3);",
        "data.10_fill.batch.sql": "",
        "tighten.20.notx.sql": "SELECT pg_sleep(3);\n",
    }
    if sleeps[file]:
        migrating.write({file: PREPARE[file] + sleeps[file]})
    else:
        paused_batches(migrating)
    process = migrating.house.start("migrate", "apply", ID, "--yes")
    begun = {
        "prepare.sql": "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(3%' AND application_name = 'sereno/migrate'",
        "data.10_fill.batch.sql": "SELECT count(*) FROM sereno.migration_batch",
        "tighten.20.notx.sql": "SELECT count(*) FROM sereno.migration_step WHERE file = 'tighten.20.notx.sql' AND state = 'done' AND statement = 2",
    }[file]  # fmt: skip
    wait(lambda: migrating.database.value(begun) > 0)
    process.kill()
    process.wait()
    if file != "tighten.20.notx.sql":  # statements of it are done: it may not be edited
        migrating.write()
    assert migrating.state()[0] == "running"
    done = migrating.migrate("resume", ID, timeout=90)
    assert done.returncode == 0, done.stdout + done.stderr
    assert migrating.state() == ("waiting_gate", "tighten")
    database = migrating.database
    assert database.value("SELECT count(*) FROM public.new_table") == 1000
    assert database.value("SELECT sum(keys)::int FROM sereno.migration_batch") == 1000
    assert database.value(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = 'public.new_note'::regclass"
    )


def test_invalid_index_that_is_not_ours_is_left_alone(migrating):
    drop = "ALTER TABLE users DROP CONSTRAINT IF EXISTS users_migrated;\n"
    migrating.write({"tighten.rollback.notx.sql": drop})
    migrating.migrate("apply", ID, "--yes", "--until", "data")
    database = migrating.database
    database.run("CREATE INDEX new_note ON public.new_table (note)")
    database.run(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'public.new_note'::regclass"
    )
    failed = migrating.migrate("apply", ID, "--yes")
    assert failed.returncode == 1
    assert (
        "exists and is invalid, and this migration did not begin it" in migrating.status()["reason"]
    )


class Reader:
    """Reads a table every 50 ms, and remembers the longest wait and the share of time waited."""

    def __init__(self, database):
        import threading

        self.longest, self.waited, self.reads = 0.0, 0.0, 0
        self.began, self.stop = time.monotonic(), threading.Event()
        self.database = database
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def _read(self):
        with self.database.connect(autocommit=True, application_name="reader") as connection:
            while not self.stop.wait(0.05):
                began = time.monotonic()
                connection.execute("SELECT 1 FROM public.users WHERE id = 1")
                seconds = time.monotonic() - began
                self.longest = max(self.longest, seconds)
                self.waited += seconds
                self.reads += 1

    def end(self):
        self.stop.set()
        self.thread.join()
        return self.longest, self.waited / (time.monotonic() - self.began)


def test_readers_hardly_wait_behind_an_idle_holder_and_the_blocker_is_named(migrating):
    migrating.house.extra += 'lock_budget = "8s"\n'
    with migrating.database.connect(application_name="reportes") as holder:
        holder.execute("SELECT count(*) FROM public.users")
        reader = Reader(migrating.database)
        failed = migrating.migrate("apply", ID, "--yes", timeout=90)
        longest, share = reader.end()
    assert failed.returncode == 5, failed.stdout + failed.stderr
    reason = migrating.status()["reason"]
    assert "(reportes) holds public.users" in reason, reason
    assert longest < 0.3 + 0.5, "the rung, and some room for a busy machine"
    assert share < 0.15
    assert migrating.state() == ("failed", "")
    assert migrating.migrate("resume", ID).returncode == 0


def test_pg_dump_is_not_queued_behind(migrating):
    migrating.house.extra += 'lock_budget = "4s"\n'
    with migrating.database.connect(application_name="pg_dump") as dump:
        dump.execute("LOCK TABLE public.users IN ACCESS SHARE MODE")
        failed = migrating.migrate("apply", ID, "--yes", timeout=90)
        waits = migrating.database.cluster.log.read_text()
    assert failed.returncode == 5
    tries = [
        line
        for line in waits.splitlines()
        if migrating.database.name in line and "LOCK TABLE" in line and migrating.login in line
    ]
    assert tries == [], "not one try was queued behind the dump"


def test_maintenance_mode_is_read_by_applications_and_ends_by_itself(migrating):
    migrating.database.run("CREATE ROLE maintained_app LOGIN")
    migrating.house.extra += 'application_roles = ["maintained_app", "gone"]\n'
    installed = migrating.sereno("install", "main", "--admin", migrating.database.dsn)
    assert "there is no role gone" in installed.stdout + installed.stderr
    asks = "SELECT reason FROM sereno.maintenance WHERE now() BETWEEN since AND until"
    with migrating.database.connect("maintained_app", autocommit=True) as application:
        application.execute("LISTEN sereno_maintenance")
        assert application.execute(asks).fetchall() == []
        on = migrating.migrate("maintenance", "on", "--for", "30m", "--reason", "cut-over")
        assert on.returncode == 0, on.stderr
        assert [one.channel for one in application.notifies(timeout=5, stop_after=1)] == [
            "sereno_maintenance"
        ]
        assert application.execute(asks).fetchall() == [{"reason": "cut-over"}]
        assert "until" in migrating.migrate("maintenance").stdout
        assert migrating.migrate("maintenance", "off").stdout == "main: no maintenance mode\n"
        assert application.execute(asks).fetchall() == []
        migrating.migrate("maintenance", "on", "--for", "100ms", "--reason", "short")
        application.execute("SELECT pg_sleep(0.2)")
        assert application.execute(asks).fetchall() == []
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            application.execute("UPDATE sereno.maintenance SET until = 'infinity'")
    too_long = migrating.migrate("maintenance", "on", "--for", "5h", "--reason", "x")
    assert (too_long.returncode, "at most 4h" in too_long.stderr) == (2, True), too_long.stderr
    assert migrating.migrate("maintenance", "on").returncode == 2
    migrating.database.run("DROP OWNED BY maintained_app; DROP ROLE maintained_app")


def test_limit_of_rows_applies_to_the_next_batch(migrating):
    assert migrating.migrate("batch", ID, "--rows", "7").returncode == 0
    assert migrating.migrate("apply", ID, "--yes").returncode == 0
    most = "SELECT max(keys) FROM sereno.migration_batch"
    assert migrating.database.value(most) == 7


def test_several_databases_go_in_order_and_the_first_failure_stops(migrating, make_database):
    """Three databases, a failure in the second; resume goes on with it and the third."""
    house, first = migrating.house, migrating.database
    with make_database(first.cluster) as second, make_database(first.cluster) as third:
        for name, one in (("second", second), ("third", third)):
            one.run(f"GRANT ALL ON SCHEMA public TO {migrating.owner}")
            one.run(
                f"SET ROLE {migrating.owner}; CREATE TABLE users (id bigint PRIMARY KEY, name text NOT NULL); RESET ROLE"
            )
            dsn = f"host={one.cluster.socket} port={one.cluster.port} dbname='{one.name}'"
            house.extra += (
                f'\n[databases.{name}]\ndsn = "{dsn}"\nmaintain = {{ user = "{house.maintain}" }}\ndata = {{ user = "{house.data}" }}\n'
                f'migrate = {{ user = "{migrating.login}", role = "{migrating.owner}" }}\n'
            )
            installed = migrating.sereno("install", name, "--admin", one.dsn)
            assert installed.returncode in {0, 1}, installed.stderr
        second.run(f"SET ROLE {migrating.owner}; CREATE TABLE new_table (id int); RESET ROLE")
        stopped = migrating.migrate("apply", ID, "--yes", "--until", "data", "--all")
        assert stopped.returncode == 1, stopped.stdout + stopped.stderr
        assert "stopped in second; not begun: third" in stopped.stderr
        states = {
            one["database"]: one["state"]
            for one in json.loads(migrating.migrate("list", "--json").stdout)
        }
        assert states == {"main": "paused", "second": "rolled_back", "third": "pending"}
        second.run("DROP TABLE new_table")
        gone_on = migrating.migrate("resume", ID, "--database", "main,second,third")
        assert gone_on.returncode == 0, gone_on.stdout + gone_on.stderr
        found = {
            one["database"]: one["phase"]
            for one in json.loads(migrating.migrate("list", "--json").stdout)
        }
        assert found == {"main": "data", "second": "data", "third": "data"}
        twice = migrating.migrate("apply", ID, "--yes", "--database", "main,main")
        assert (twice.returncode, "twice" in twice.stderr) == (2, True)
