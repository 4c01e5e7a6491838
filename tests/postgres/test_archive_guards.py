"""What comes between the plan and its end: keys that cascade, columns that come, triggers that tamper, other entries."""

import fcntl
import json
import os

import psycopg
import pytest
import zstandard

from postgres.session import open_session
from retention.archive import to_file
from retention.archive.verify import verify
from tests.postgres.test_archive import TABLE, event, files, fill, history, ids  # noqa: F401 - fixtures

FAMILY = """
CREATE TABLE public.orden (id bigint PRIMARY KEY, at timestamptz);
CREATE TABLE public.linea (id bigint PRIMARY KEY, orden bigint REFERENCES public.orden{});
INSERT INTO public.orden VALUES (1, now() - interval '40 days'), (2, now());
"""


def family(house, more="", key="id bigint PRIMARY KEY, "):
    house.database.run(FAMILY.format(more).replace("id bigint PRIMARY KEY, orden", f"{key}orden"))
    house.archive = house.folder / "archive"
    house.extra = (
        TABLE.format(house.archive).replace("public.event", "public.orden")
        + "children = ['public.linea']\n"
    )
    house.install()


def refusal(house):
    (step,) = house.run("archive")["steps"]
    assert step["status"] == "failed", step
    assert "refused: " in step["reason"]
    return step["reason"]


@pytest.mark.parametrize("how", ["CASCADE", "SET NULL"])
def test_a_child_that_refers_to_itself_reaches_into_what_stays(house, how):
    family(house, f", parent bigint REFERENCES public.linea ON DELETE {how}")
    house.database.run("INSERT INTO public.linea VALUES (1, 1, NULL), (2, 2, 1), (3, NULL, 1)")
    assert "would extend the deletion to public.linea" in refusal(house)
    assert house.database.value("SELECT count(*) FROM public.linea") == 3


def test_a_child_without_a_key_is_refused_by_name(house):
    family(house, key="")
    assert "public.linea has no unique key" in refusal(house)


@pytest.fixture
def between(monkeypatch):
    """Do something after the first batch."""

    def make(act):
        done, seen = to_file._Mover.done, []

        def hook(self):
            done(self)
            seen.append(1)
            if len(seen) == 1:
                act()

        monkeypatch.setattr(to_file._Mover, "done", hook)

    return make


DDL = {
    "a column": "ALTER TABLE public.event ADD COLUMN secret text; UPDATE public.event SET secret = 'precious ' || id",
    "a key": "CREATE TABLE public.kid (e bigint REFERENCES public.event ON DELETE CASCADE); INSERT INTO public.kid SELECT id FROM public.event",
}


@pytest.mark.parametrize("what", list(DDL))
def test_what_comes_during_a_run_ends_it_and_the_next_one_looks_again(event, between, what):  # noqa: F811
    event.database.run("CREATE INDEX ON public.event (at)")
    fill(event, 3000)
    event.extra = "[governor]\nbatch_rows = 500\n" + event.extra
    between(lambda: event.database.run(DDL[what]))
    run = event.run("archive")
    assert run["state"] == "failed"
    assert "have changed since planning" in run["steps"][0]["reason"]
    assert len(ids(event)) == 500
    if what == "a key":
        assert event.database.value("SELECT count(*) FROM public.kid") == 2510
        assert "would extend the deletion to public.kid" in refusal(event)
    else:
        assert event.run("archive")["state"] == "finished"
        assert len(files(event)) == 2
        assert event.sereno("archive", "verify", "--deep").returncode == 0
        event.database.run("TRUNCATE public.event")
        batches = json.loads(event.sereno("archive", "list", "--json").stdout)
        newer = [
            word
            for one in batches
            if one["file"].endswith("-2.copy.zst")
            for word in ("--batch", one["batch"])
        ]
        event.sereno("archive", "restore", "public.event", "--database", "main", "--admin", event.database.dsn, "--privileged", "--yes", *newer)  # fmt: skip
        assert (
            event.database.value(
                "SELECT count(*) FROM public.event WHERE secret = 'precious ' || id"
            )
            == 2500
        )


def hostile(house, body, table="public.evil", when="BEFORE DELETE"):
    alice = f"alice_{house.maintain}"
    house.database.run(f"CREATE ROLE {alice} LOGIN; GRANT ALL ON SCHEMA public TO {alice}; ALTER TABLE {table} OWNER TO {alice}")  # fmt: skip
    kind = "CONSTRAINT " if "DEFERRABLE" in when else ""
    with house.database.connect(alice, autocommit=True) as connection:
        connection.execute(f"CREATE FUNCTION public.attack() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} RETURN OLD; END $$")  # fmt: skip
        connection.execute(f"CREATE {kind}TRIGGER attacks {when.replace(' DEFERRABLE', '')} ON {table}{' DEFERRABLE INITIALLY DEFERRED' if kind else ''} FOR EACH ROW EXECUTE FUNCTION public.attack()")  # fmt: skip


COLUMNS = 'id, instance, "schema", "table", destination, file, "position", length, sha256, rows, first, last, columns'
FAKE = f"""INSERT INTO sereno.archive_batch ({COLUMNS}{{}})
SELECT gen_random_uuid(), instance, "schema", "table", destination, file, 999999, 1, '', 1, '', '', '[]'{{}}
FROM sereno.archive_batch WHERE "table" = 'event' LIMIT 1;"""
ATTACKS = {
    "a batch": FAKE.format("", ""),
    "an old batch": FAKE.format(", archived_at", ", '2000-01-01'"),
    "unseen": FAKE.format(", ordinal", ", -1").replace(
        "SELECT gen", "OVERRIDING SYSTEM VALUE SELECT gen"
    ),
    "expired": "UPDATE sereno.archive_batch SET expired_at = now();",
}


@pytest.mark.parametrize("when", ["BEFORE DELETE", "AFTER DELETE DEFERRABLE"])
@pytest.mark.parametrize("what", list(ATTACKS))
@pytest.mark.parametrize("job", ["archive", "log_cleanup"])
def test_a_trigger_cannot_write_into_the_ledger(event, what, when, job):  # noqa: F811
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
    hostile(event, ATTACKS[what], when=when)
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
def test_what_a_trigger_sets_is_in_force_for_nothing(event, setting):  # noqa: F811
    event.database.run("CREATE TABLE public.a_evil (id bigint PRIMARY KEY, at timestamptz)")
    event.database.run(
        "CREATE TABLE public.victim (id bigint PRIMARY KEY, at timestamptz, f float8, d date)"
    )
    tables = ("public.a_evil", "public.victim")
    event.extra = "".join(
        TABLE.format(event.archive).replace("public.event", table) for table in tables
    )
    event.install()
    hostile(event, f"PERFORM set_config({setting}, false);", "public.a_evil")
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


def test_two_entries_of_one_file_keep_it_for_the_same_time(event):  # noqa: F811
    odd = TABLE.format(event.archive) + "where = 'id % 2 = 1'\n"
    event.extra += (
        "where = 'id % 2 = 0'\nkeep = '7 days'\n" + odd + "keep = '7 years'\nhold = true\n"
    )
    done = event.sereno("config", "check", check=False)
    assert (
        done.returncode,
        "two entries archive rows of public.event to the same files" in done.stderr,
    ) == (78, True)


def test_a_file_that_has_got_a_newer_batch_stays(event, control):  # noqa: F811
    event.extra += "where = 'id % 2 = 0'\nkeep = '7 days'\n" + TABLE.format(event.archive) + "where = 'id % 2 = 1'\nkeep = '7 days'\n"  # fmt: skip
    event.install()
    fill(event, 100)
    event.run("archive")
    event.database.run("UPDATE sereno.archive_batch SET archived_at = now() - interval '8 days'")
    event.database.run("INSERT INTO public.event SELECT n, now() - interval '40 days', 'fresh' FROM generate_series(1000, 1010, 2) n")  # fmt: skip
    seen = event.plan("archive")
    assert [step.name for step in seen] == ["expire", "archive", "expire"]
    context = event.context()
    with open_session(context.target("main"), "data", "archive") as opened, open_session(context.target("main"), "maintain", "archive") as owner:  # fmt: skip
        assert seen[1].apply(opened, control).status == "done"
        gone = seen[2].apply(owner, control)
    assert (gone.status, "newer" in gone.reason) == ("skipped", True)
    assert len(ids(event)) == 106


def test_a_server_that_was_upgraded_lets_its_old_files_go(event):  # noqa: F811
    event.extra += "keep = '7 years'\n"
    fill(event, 5)
    event.run("archive")
    (notes,) = event.archive.rglob("*.manifest.jsonl")
    header, *rest = notes.read_text().splitlines(keepends=True)
    notes.write_text(
        json.dumps({**json.loads(header), "system_identifier": "1"}) + "\n" + "".join(rest)
    )
    event.database.run("UPDATE sereno.archive_batch SET archived_at = now() - interval '9 years'")
    assert event.run("archive")["state"] == "finished"
    assert files(event) == []


def test_uuids_of_other_versions_have_no_age(house):
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


def test_a_deep_look_runs_nobodys_code_with_our_rights(event):  # noqa: F811
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


@pytest.mark.parametrize(("make", "word"), [("ALTER TABLE history.event SET UNLOGGED", "unlogged"), ("DROP TABLE history.event; CREATE VIEW history.event AS SELECT * FROM public.event", "not a table")])  # fmt: skip
def test_where_rows_would_not_be_safe_none_go(history, make, word):  # noqa: F811
    history.database.run(make)
    fill(history, 5)
    assert word in refusal(history)


def test_a_table_is_no_place_for_its_own_rows(event):  # noqa: F811
    event.extra = TABLE.replace("file://{}", "table:public.event")
    fill(event, 5)
    assert "the table that the rows leave" in refusal(event)


def test_a_look_that_sees_no_ledger_says_so(event):  # noqa: F811
    fill(event, 5)
    event.run("archive")
    event.database.run("ALTER TABLE sereno.archive_batch RENAME TO aside")
    for word in ("verify", "list"):
        done = event.sereno("archive", word, check=False)
        assert (done.returncode, "sereno install" in done.stderr) == (2, True)


def test_a_look_beside_a_run_and_at_what_was_only_begun_finds_nothing_wrong(event, wait):  # noqa: F811
    fill(event, 50)
    event.run("archive")
    (path,) = files(event)
    (path.parent / "2031-01.copy.zst").touch()
    seen, context = [], event.context()

    def told(_batch):
        if not seen:
            seen.append(1)
            with path.open("ab") as file:
                file.write(b"of a batch that is being written")
            seen.append(os.open(path.parent, os.O_RDONLY))
            fcntl.flock(seen[1], fcntl.LOCK_EX)

    with open_session(context.target("main"), "maintain", "archive") as opened:
        assert verify(opened, told=told).faults == []
    os.close(seen[1])
    done = event.sereno("archive", "verify")
    assert (done.returncode, "32 bytes behind" in done.stderr) == (1, True)


def test_a_batch_comes_back_however_slow_the_triggers_are_and_what_fails_is_named(
    event,  # noqa: F811
    monkeypatch,
):
    fill(event, 5)
    event.run("archive")
    (batch,) = json.loads(event.sereno("archive", "list", "--json").stdout)
    (path,) = files(event)
    again = ("archive", "restore", "public.event", "--database", "main", "--admin", event.database.dsn, "--privileged", "--yes")  # fmt: skip
    path.rename(path.with_name("aside"))
    done = event.sereno(*again, check=False)
    assert (done.returncode, batch["batch"] in done.stderr, str(path) in done.stderr) == (
        2,
        True,
        True,
    )
    assert "0 batches were restored" in done.stderr
    path.with_name("aside").rename(path)
    wrong = event.sereno("archive", "restore", "public.nope", "--database", "main", "--admin", event.database.dsn, "--yes", check=False)  # fmt: skip
    assert (wrong.returncode, "GRANT" in wrong.stderr) == (2, False)
    event.database.run("CREATE FUNCTION public.told() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF current_setting('statement_timeout') = '1min' THEN RAISE 'too short'; END IF; RETURN NEW; END $$; CREATE TRIGGER told BEFORE INSERT ON public.event FOR EACH ROW EXECUTE FUNCTION public.told()")  # fmt: skip
    assert event.sereno(*again).returncode == 0


def test_what_went_to_a_table_is_listed_and_what_nobody_has_counted_has_no_size(history):  # noqa: F811
    fill(history, 50)
    (step,) = history.plan("archive")
    assert "size unknown: never analyzed" in step.why
    assert history.run("archive")["state"] == "finished"
    shown = history.sereno("archive", "list").stdout
    assert "public.event moved to" in shown


def test_the_table_of_a_batch_may_be_gone(event):  # noqa: F811
    fill(event, 5)
    event.run("archive")
    event.database.run("DROP TABLE public.event")
    assert event.sereno("archive", "verify").returncode == 0
    assert "no longer exists" in event.sereno("archive", "verify", "--deep").stderr


def test_a_crash_empties_no_archive(tmp_path, clusters, make_database, make_house):
    """Rows that went to another table are there after the server has crashed."""
    cluster = clusters("embedded", max_connections="42")
    with make_database(cluster) as database:
        house = make_house(tmp_path, database)
        database.run("CREATE TABLE public.event (id bigint PRIMARY KEY, at timestamptz, note text); CREATE TABLE public.old (id bigint, at timestamptz, note text)")  # fmt: skip
        house.extra = TABLE.replace("file://{}", "table:public.old")
        house.install()
        fill(house, 50)
        assert house.run("archive")["state"] == "finished"
        database.admin.close()
        cluster.stop("immediate")
        cluster.start()
        database.admin = psycopg.connect(
            database.dsn, autocommit=True, row_factory=psycopg.rows.dict_row
        )
        assert database.value("SELECT count(*) FROM public.old") == 50


def test_what_was_not_detached_is_not_said_to_be_taken_out(house):
    house.database.run(
        "CREATE TABLE public.event (id bigint, at timestamptz, UNIQUE (id, at)) PARTITION BY RANGE (at)"
    )
    house.database.run("CREATE TABLE public.one PARTITION OF public.event FOR VALUES FROM ('2025-01-01') TO ('2025-02-01')")  # fmt: skip
    house.database.run("INSERT INTO public.event VALUES (5, '2025-01-03'); CREATE TABLE public.ref (id bigint, at timestamptz, FOREIGN KEY (id, at) REFERENCES public.event (id, at)); INSERT INTO public.ref VALUES (5, '2025-01-03')")  # fmt: skip
    house.archive = house.folder / "archive"
    house.extra = TABLE.format(house.archive) + 'partitions = "drop"\n'
    house.install()
    owner = f"owner_{house.maintain}"
    house.database.run(f"CREATE ROLE {owner}; ALTER TABLE public.event OWNER TO {owner}; ALTER TABLE public.one OWNER TO {owner}; GRANT {owner} TO {house.maintain}")  # fmt: skip
    assert house.run("archive")["state"] == "failed"
    assert (
        house.database.value(
            "SELECT count(*) FROM pg_inherits WHERE inhrelid = 'public.one'::regclass"
        )
        == 1
    )
    done = house.sereno("archive", "verify")
    assert (done.returncode, done.stderr) == (0, "")
