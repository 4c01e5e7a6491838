"""Archiving of tables whose triggers, checks and types run code of other roles."""

import pytest
import zstandard

from tests.postgres.archive_table import TABLE, fill, ids


def test_hostile_trigger_gains_no_privilege_and_superuser_is_refused(event):
    fill(event, 20)
    alice = f"alice_{event.maintain}"
    event.database.run(
        f"CREATE ROLE {alice} LOGIN; GRANT ALL ON SCHEMA public TO {alice}; ALTER TABLE public.event OWNER TO {alice}"
    )
    with event.database.connect(alice, autocommit=True) as connection:
        connection.execute(f"""
            CREATE FUNCTION public.attack() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
              BEGIN EXECUTE 'ALTER ROLE {alice} SUPERUSER'; EXCEPTION WHEN OTHERS THEN NULL; END;
              BEGIN PERFORM set_config('role', 'none', false); DELETE FROM sereno.archive_batch; EXCEPTION WHEN OTHERS THEN NULL; END;
              BEGIN UPDATE sereno.archive_batch SET restored_at = now(); EXCEPTION WHEN OTHERS THEN NULL; END;
              BEGIN UPDATE sereno.owner SET instance_id = 'mine'; EXCEPTION WHEN OTHERS THEN NULL; END;
              RETURN OLD; END $$""")
        connection.execute(
            "CREATE TRIGGER attacks BEFORE DELETE ON public.event FOR EACH ROW EXECUTE FUNCTION public.attack()"
        )
    owner = event.database.rows("SELECT * FROM sereno.owner")
    data, event.data = event.data, "postgres"
    refused = event.run("archive")
    assert (refused["state"], "SUPERUSER" in refused["reason"]) == ("failed", True)
    assert event.database.value("SELECT count(*) FROM public.event") == 30
    event.data = data
    assert event.run("archive")["state"] == "finished"
    assert ids(event) == list(range(1, 21))
    assert not event.database.value("SELECT rolsuper FROM pg_roles WHERE rolname = %s", alice)
    assert event.database.rows("SELECT * FROM sereno.owner") == owner
    assert (
        event.database.value("SELECT sum(rows) FROM sereno.archive_batch WHERE restored_at IS NULL")
        == 20
    )


def create_attack_trigger(house, body, table="public.evil", when="BEFORE DELETE"):
    alice = f"alice_{house.maintain}"
    house.database.run(f"CREATE ROLE {alice} LOGIN; GRANT ALL ON SCHEMA public TO {alice}; ALTER TABLE {table} OWNER TO {alice}")  # fmt: skip
    kind = "CONSTRAINT " if "DEFERRABLE" in when else ""
    with house.database.connect(alice, autocommit=True) as connection:
        connection.execute(f"CREATE FUNCTION public.attack() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} RETURN OLD; END $$")  # fmt: skip
        connection.execute(f"CREATE {kind}TRIGGER attacks {when.replace(' DEFERRABLE', '')} ON {table}{' DEFERRABLE INITIALLY DEFERRED' if kind else ''} FOR EACH ROW EXECUTE FUNCTION public.attack()")  # fmt: skip
    house.database_lines = f'trust = [["{alice}", "postgres"]]\n'
    house.install()


COLUMNS = 'id, instance, "schema", "table", destination, file, "position", length, sha256, rows, first, last, columns'


FAKE = f"""INSERT INTO sereno.archive_batch ({COLUMNS}{{}})
SELECT gen_random_uuid(), instance, "schema", "table", destination, file, 999999, 1, '', 1, '', '', '[]'{{}}
FROM sereno.archive_batch WHERE "table" = 'event' LIMIT 1;"""


ATTACKS = {
    "insert": FAKE.format("", ""),
    "insert old batch": FAKE.format(", archived_at", ", '2000-01-01'"),
    "insert low ordinal": FAKE.format(", ordinal", ", -1").replace(
        "SELECT gen", "OVERRIDING SYSTEM VALUE SELECT gen"
    ),
    "expire all": "UPDATE sereno.archive_batch SET expired_at = now();",
}


@pytest.mark.parametrize("when", ["BEFORE DELETE", "AFTER DELETE DEFERRABLE"])
@pytest.mark.parametrize("attack", list(ATTACKS))
@pytest.mark.parametrize("job", ["archive", "log_cleanup"])
def test_trigger_cannot_write_to_ledger(event, attack, when, job):
    event.database.run("CREATE TABLE public.evil (id bigint PRIMARY KEY, at timestamptz)")
    entry = TABLE.format(event.archive).replace("public.event", "public.evil")
    if job == "log_cleanup":
        entry = (
            "[[jobs.log_cleanup.tables]]\ntable = 'public.evil'\ncolumn = 'at'\nkeep = '30 days'\n"
        )
    event.extra += "keep = '7 years'\n" + entry
    event.install()
    fill(event, 100)
    event.run("archive")
    ledger = event.database.rows("SELECT * FROM sereno.archive_batch ORDER BY ordinal")
    create_attack_trigger(event, ATTACKS[attack], when=when)
    event.database.run("INSERT INTO public.evil VALUES (1, now() - interval '40 days')")
    run = event.run(job)
    assert run["state"] in {"failed", "finished"}
    assert event.database.rows("SELECT * FROM sereno.archive_batch ORDER BY ordinal") == ledger
    assert event.database.value("SELECT count(*) FROM public.evil") == 1
    event.run("archive")
    (path,) = (event.archive / "main/public/event").glob("*.copy.zst")
    with path.open("rb") as file:
        assert (
            len(
                zstandard.ZstdDecompressor()
                .stream_reader(file, read_across_frames=True)
                .read()
                .splitlines()
            )
            == 100
        )
    assert event.sereno("archive", "verify").returncode == 0


@pytest.mark.parametrize("setting", ["'extra_float_digits', '-12'", "'DateStyle', 'SQL,DMY'", "'search_path', 'public'", "'client_encoding', 'LATIN1'"])  # fmt: skip
def test_settings_changed_by_trigger_fail_step_and_do_not_affect_next(event, setting):
    event.database.run("CREATE TABLE public.a_evil (id bigint PRIMARY KEY, at timestamptz)")
    event.database.run(
        "CREATE TABLE public.victim (id bigint PRIMARY KEY, at timestamptz, f float8, d date)"
    )
    tables = ("public.a_evil", "public.victim")
    event.extra = "".join(
        TABLE.format(event.archive).replace("public.event", table) for table in tables
    )
    event.install()
    create_attack_trigger(event, f"PERFORM set_config({setting}, false);", "public.a_evil")
    event.database.run("INSERT INTO public.a_evil VALUES (1, now() - interval '40 days')")
    event.database.run("INSERT INTO public.victim VALUES (1, now() - interval '40 days', 3.14159265358979, '2020-02-01')")  # fmt: skip
    evil, victim = event.run("archive")["steps"]
    assert evil["status"] == "failed"
    assert setting.split("'")[1] in evil["reason"]
    assert (victim["status"], event.database.value("SELECT count(*) FROM public.a_evil")) == (
        "done",
        1,
    )
    (path,) = (event.archive / "main/public/victim").glob("*.copy.zst")
    with path.open("rb") as file:
        kept = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read()
    assert kept.endswith(b"3.14159265358979\t2020-02-01\n")


def test_deep_verify_does_not_run_user_functions(event):
    alice, bob = f"alice_{event.maintain}", f"bob_{event.maintain}"
    event.database.run(f"CREATE ROLE {alice} LOGIN; CREATE ROLE {bob}; GRANT ALL ON SCHEMA public TO {alice}; CREATE TABLE public.bobs (s text); INSERT INTO public.bobs VALUES ('secret'); ALTER TABLE public.bobs OWNER TO {bob}; ALTER TABLE public.event OWNER TO {alice}")  # fmt: skip
    with event.database.connect(alice, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE public.loot (s text); GRANT INSERT ON public.loot TO public"
        )
        connection.execute("CREATE FUNCTION public.chk(text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN BEGIN INSERT INTO public.loot SELECT s FROM public.bobs; EXCEPTION WHEN OTHERS THEN NULL; END; RETURN true; END $$")  # fmt: skip
        connection.execute("CREATE DOMAIN public.dom AS text CHECK (public.chk(VALUE))")
        connection.execute("ALTER TABLE public.event ALTER note TYPE public.dom")
    event.install()
    fill(event, 5)
    event.database.run("TRUNCATE public.loot")
    assert event.run("archive")["state"] == "finished"
    done = event.sereno("archive", "verify", "--deep")
    assert done.returncode == 0, done.stderr
    assert event.database.value("SELECT count(*) FROM public.loot") == 0
