"""Old rows move to files: each is in exactly one place, and comes back as it was."""

import json
import subprocess
from pathlib import Path

import psycopg
import pytest
import zstandard

from execution.control import StepControl
from retention.archive import to_file

TABLE = """
[[jobs.archive.tables]]
table = 'public.event'
column = "at"
older_than = "30 days"
to = "file://{}"
"""


@pytest.fixture
def event(house):
    house.database.run(
        "CREATE TABLE public.event (id bigint PRIMARY KEY, at timestamptz, note text)"
    )
    house.archive = house.folder / "archive"
    house.extra = TABLE.format(house.archive)
    house.install()
    return house


def fill(house, old, new=10):
    house.database.run(
        f"INSERT INTO public.event SELECT n, now() - interval '31 days' - n * interval '1 s', 'ä ' || n FROM generate_series(1, {old}) n"
    )
    house.database.run(
        f"INSERT INTO public.event SELECT -n, now() - n * interval '1 hour' FROM generate_series(1, {new}) n"
    )


def files(house):
    return sorted(house.archive.rglob("*.copy.zst"))


def lines(house):
    """The lines of all files, read by stock tools."""
    return b"".join(map(unpacked, files(house))).splitlines()


def unpacked(path):
    if Path("/usr/bin/zstd").exists():
        command = ["zstd", "-dcq", str(path)]
        return subprocess.run(command, check=True, capture_output=True).stdout
    with path.open("rb") as file:
        reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        return reader.read()


def ids(house):
    return sorted(int(line.split(b"\t")[0]) for line in lines(house))


def manifest(house):
    (path,) = house.archive.rglob("*.manifest.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("indexed", [True, False], ids=["by index", "by block"])
def test_old_rows_move_to_one_file_and_the_ledger_knows_where(event, indexed):
    if indexed:
        event.database.run("CREATE INDEX ON public.event (at)")
    fill(event, 5000)
    run = event.run("archive")
    assert (run["state"], run["steps"][0]["rows"]) == ("finished", 5000), run
    assert event.database.value("SELECT count(*) FROM public.event") == 10
    assert ids(event) == list(range(1, 5001))
    ledger = event.database.rows('SELECT * FROM sereno.archive_batch ORDER BY "position"')
    assert sum(row["rows"] for row in ledger) == 5000
    assert len(ledger) > 1
    assert files(event)[0].stat().st_size == ledger[-1]["position"] + ledger[-1]["length"]
    header, *entries = manifest(event)
    assert (header["table"], header["columns"][0]) == ("event", ["id", "bigint"])
    assert [entry["sha256"] for entry in entries] == [row["sha256"] for row in ledger]
    assert event.run("archive")["steps"] == []


def test_another_writer_or_an_unknown_file_is_never_touched(event):
    """A staging clone with the same configuration, and somebody's file in the way: a new file is begun."""
    fill(event, 100)
    event.run("archive")
    (first,) = files(event)
    before = first.read_bytes()
    event.database.run(
        "DELETE FROM sereno.archive_batch"
    )  # as in a copy of the database from before
    fill_more = "INSERT INTO public.event SELECT n, now() - interval '40 days' FROM generate_series(1000, 1100) n"
    event.database.run(fill_more)
    assert event.run("archive")["state"] == "finished"
    assert first.read_bytes() == before
    second = files(event)[0] if files(event)[0] != first else files(event)[1]
    assert second.name.endswith("-2.copy.zst")
    third = second.with_name(second.name.replace("-2.", "-3."))
    third.write_text("mine")
    event.database.run("ALTER TABLE public.event ADD COLUMN more int")
    event.database.run(fill_more.replace("1000, 1100", "2000, 2100"))
    assert event.run("archive")["state"] == "finished"
    assert third.read_text() == "mine"
    assert [path.name[7:] for path in files(event)] == [
        "-2.copy.zst",
        "-3.copy.zst",
        "-4.copy.zst",
        ".copy.zst",
    ]


def test_what_lies_behind_the_last_ledgered_batch_is_cut_off(event):
    fill(event, 50)
    event.run("archive")
    (path,) = files(event)
    good = path.read_bytes()
    path.write_bytes(good + b"half a frame")
    event.database.run("INSERT INTO public.event VALUES (99, now() - interval '40 days')")
    assert event.run("archive")["state"] == "finished"
    assert path.read_bytes().startswith(good)
    assert ids(event) == sorted([*range(1, 51), 99])


def test_a_file_that_is_too_short_stops_it_and_nothing_is_deleted(event):
    fill(event, 50)
    event.run("archive")
    (path,) = files(event)
    path.write_bytes(path.read_bytes()[:-1])
    event.database.run("INSERT INTO public.event VALUES (99, now() - interval '40 days')")
    run = event.run("archive")
    assert run["state"] == "failed"
    assert "it is damaged" in run["reason"]
    assert event.database.value("SELECT count(*) FROM public.event WHERE id = 99") == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("ALTER TABLE public.event DROP CONSTRAINT event_pkey", 'key = "ctid"'),
        ("ALTER TABLE public.event ALTER at TYPE text", "is text"),
        (
            "CREATE TABLE public.child (e bigint REFERENCES public.event ON DELETE CASCADE)",
            "public.child",
        ),
        ("DROP TABLE sereno.archive_batch", "sereno install main"),
    ],
)
def test_what_is_refused_is_named_and_nothing_moves(event, change, said):
    fill(event, 5)
    event.database.run(change)
    run = event.run("archive")
    assert (run["state"], said in run["reason"]) == ("failed", True), run["reason"]
    assert event.database.value("SELECT count(*) FROM public.event") == 15


def test_a_link_in_the_way_is_refused(event):
    fill(event, 5)
    elsewhere = event.folder / "elsewhere"
    elsewhere.mkdir()
    event.archive.symlink_to(elsewhere)
    run = event.run("archive")
    assert (run["state"], "is a link" in run["reason"]) == ("failed", True)
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "old", "young", "epoch"),
    [
        ("date", "now() - interval '40 days'", "now()", ""),
        ("timestamp", "now() - interval '40 days'", "now()", ""),
        (
            "bigint",
            "extract(epoch FROM now() - interval '40 days') * 1000",
            "extract(epoch FROM now()) * 1000",
            "ms",
        ),
        ("int", "extract(epoch FROM now() - interval '40 days')", "extract(epoch FROM now())", "s"),
        (
            "uuid",
            "'01890000-0000-7abc-8000-0123456789ab'",
            "'ff900000-0000-7abc-8000-0123456789ab'",
            "",
        ),
    ],
)
def test_every_kind_of_age(event, kind, old, young, epoch):
    event.database.run(f"ALTER TABLE public.event DROP COLUMN at, ADD COLUMN at {kind}")
    event.database.run(
        f"INSERT INTO public.event (id, at) VALUES (1, {old}), (2, {young}), (3, NULL)"
    )
    if epoch:
        assert "since 1970" in event.run("archive")["reason"]
        event.extra += f'epoch = "{epoch}"\n'
    run = event.run("archive")
    assert run["state"] == "finished", run["reason"]
    assert ids(event) == [1]


def test_uuids_without_an_age_are_refused(event):
    event.database.run(
        "ALTER TABLE public.event DROP COLUMN at, ADD COLUMN at uuid DEFAULT gen_random_uuid()"
    )
    event.database.run("INSERT INTO public.event (id) VALUES (1), (2)")
    assert "UUIDs other than version 7" in event.run("archive")["reason"]


def test_names_may_be_anything(house):
    name = 'Ärger ".." / %s {x}; DROP'
    quoted = name.replace('"', '""')
    house.database.run('CREATE SCHEMA ".."')
    house.database.run(f'CREATE TABLE ".."."{quoted}" (id int PRIMARY KEY, at date)')
    house.archive = house.folder / "archive"
    house.extra = TABLE.format(house.archive).replace("'public.event'", f'\'".."."{quoted}"\'')
    house.install()
    house.database.run(f'INSERT INTO ".."."{quoted}" VALUES (1, \'2020-01-01\')')
    run = house.run("archive")
    assert run["state"] == "finished", run["reason"]
    assert ids(house) == [1]
    assert all(house.archive in path.parents for path in house.folder.rglob("*.zst"))


def test_list_verify_and_restore(event):
    fill(event, 3000)
    before = event.database.rows("SELECT * FROM public.event ORDER BY id")
    event.run("archive")
    listed = json.loads(event.sereno("archive", "list", "--json").stdout)
    assert sum(batch["rows"] for batch in listed) == 3000
    assert "3,000 rows" in event.sereno("archive", "list").stdout
    assert event.sereno("archive", "verify").returncode == 0
    deep = json.loads(event.sereno("archive", "verify", "--deep", "--json").stdout)
    assert (deep["verified"][0]["rows"], deep["faults"]) == (3000, [])
    restore = (
        "archive",
        "restore",
        "public.event",
        "--database",
        "main",
        "--admin",
        event.database.dsn,
        "--yes",
    )
    refused = event.sereno(*restore, check=False)
    assert (refused.returncode, "GRANT INSERT" in refused.stderr) == (2, True)
    came = json.loads(event.sereno(*restore, "--privileged", "--json").stdout)
    assert sum(batch["rows"] for batch in came["restored"]) == 3000
    assert event.database.rows("SELECT * FROM public.event ORDER BY id") == before
    again = json.loads(event.sereno(*restore, "--privileged", "--json").stdout)
    assert (again["restored"], again["restored_earlier"]) == ([], len(listed))


def test_rows_that_are_there_already_stop_a_restore_or_are_left_alone(event):
    fill(event, 20)
    event.run("archive")
    event.database.run("INSERT INTO public.event VALUES (7, now(), 'newer')")
    restore = ("archive", "restore", "public.event", "--database", "main", "--admin", event.database.dsn, "--yes", "--privileged")  # fmt: skip
    refused = event.sereno(*restore, check=False)
    assert (refused.returncode, "duplicate key" in refused.stderr) == (2, True)
    assert event.database.value("SELECT count(*) FROM public.event") == 11
    said = event.sereno(*restore, "--skip").stdout
    assert "19 rows restored, 1 already present" in said
    assert event.database.value("SELECT note FROM public.event WHERE id = 7") == "newer"


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda path: path.unlink(), "No such file"),
        (lambda path: path.write_bytes(bytes([*path.read_bytes()[:-9], path.read_bytes()[-9] ^ 1, *path.read_bytes()[-8:]])), "the frame at 0"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "ends at"),
        (lambda path: path.write_bytes(path.read_bytes() + b"x"), "1 bytes behind"),
        (lambda path: path.with_name("1999-01.copy.zst").write_text("?"), "not in the ledger"),
    ],
    ids=["missing", "flipped", "short", "long", "stranger"],
)  # fmt: skip
def test_verify_names_what_is_wrong(event, harm, said):
    fill(event, 20)
    event.run("archive")
    harm(files(event)[0])
    done = event.sereno("archive", "verify")
    assert (done.returncode, said in done.stderr) == (1, True), done.stderr
    assert str(event.archive) in done.stderr


@pytest.fixture
def history(event):
    event.database.run("CREATE SCHEMA history")
    event.database.run(
        "CREATE TABLE history.event (note text, id bigint, at timestamptz, extra int DEFAULT 7)"
    )
    event.extra = TABLE.replace("file://{}", "table:history.event")
    event.install()
    return event


def test_rows_move_to_another_table(history):
    fill(history, 3000)
    run = history.run("archive")
    assert (run["state"], run["steps"][0]["rows"]) == ("finished", 3000), run["reason"]
    assert history.database.value("SELECT count(*) FROM public.event") == 10
    moved = history.database.rows("SELECT id, note, extra FROM history.event ORDER BY id")
    assert [row["id"] for row in moved] == list(range(1, 3001))
    assert (moved[6]["note"], moved[6]["extra"]) == ("ä 7", 7)
    assert (
        history.database.value(
            "SELECT sum(rows) FROM sereno.archive_batch WHERE destination = 'history.event'"
        )
        == 3000
    )


def test_a_table_that_no_longer_fits_is_refused(history):
    fill(history, 5)
    history.database.run("ALTER TABLE history.event ALTER note TYPE varchar(3)")
    run = history.run("archive")
    assert (run["state"], "has no column note of type text" in run["reason"]) == ("failed", True)
    assert history.database.value("SELECT count(*) FROM public.event") == 15


def test_a_table_that_swallows_rows_keeps_them_where_they_are(history):
    fill(history, 5)
    history.database.run(
        "CREATE FUNCTION public.eat() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.id = 3 THEN RETURN NULL; END IF; RETURN NEW; END $$"
    )
    history.database.run(
        "CREATE TRIGGER eats BEFORE INSERT ON history.event FOR EACH ROW EXECUTE FUNCTION public.eat()"
    )
    run = history.run("archive")
    assert (run["state"], "took 4 of 5 rows" in run["reason"]) == ("failed", True)
    assert history.database.value("SELECT count(*) FROM public.event") == 15
    assert history.database.value("SELECT count(*) FROM history.event") == 0


def checksum(database):
    """Of every row and every relation of a database."""
    tables = database.rows(
        "SELECT c.oid::regclass::text AS name, c.oid, c.relfilenode FROM pg_class c WHERE c.relkind = 'r'"
        " AND c.relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace) ORDER BY c.oid"
    )
    digest = "SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM {} t"
    return [(*table.values(), database.value(digest.format(table["name"]))) for table in tables]


def test_a_plan_changes_nothing(event):
    """Nothing in any table, and not so much as a transaction ID was spent."""
    event.extra += (
        TABLE.replace("public.event", "public.other").format(event.archive)
        + 'partitions = "drop"\n'
    )
    event.extra += (
        "[[jobs.log_cleanup.tables]]\ntable = 'public.noise'\ncolumn = 'at'\nkeep = '1 day'\n"
    )
    event.database.run(
        "CREATE TABLE public.other (at timestamptz NOT NULL) PARTITION BY RANGE (at)"
    )
    event.database.run(
        "CREATE TABLE public.other_1 PARTITION OF public.other FOR VALUES FROM (MINVALUE) TO ('2025-01-01')"
    )
    event.database.run(
        "CREATE TABLE public.noise AS SELECT now() - interval '9 days' AS at FROM generate_series(1, 99)"
    )
    event.database.run("INSERT INTO public.other VALUES ('2024-01-01')")
    event.install()
    fill(event, 50)
    spent = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text"
    before = checksum(event.database), event.database.value(spent)
    plan = event.sereno("plan", "archive", "log_cleanup", "--sql").stdout
    assert "COPY (DELETE FROM" in plan
    assert "DELETE FROM" in plan.replace("COPY (DELETE FROM", "")
    assert (checksum(event.database), event.database.value(spent)) == before
    assert not event.archive.exists()
    event.database.run("UPDATE public.event SET note = 'x' WHERE id = 7")
    assert checksum(event.database) != before[0], "the checksum sees one changed value"


def test_a_partitioned_table_row_by_row(house):
    house.database.run(
        "CREATE TABLE public.event (id bigint, at timestamptz, note text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at)"
    )
    house.database.run(
        "CREATE TABLE public.event_old PARTITION OF public.event FOR VALUES FROM (MINVALUE) TO ('2025-01-01')"
    )
    house.database.run("CREATE TABLE public.event_new PARTITION OF public.event DEFAULT")
    house.archive = house.folder / "archive"
    house.extra = TABLE.format(house.archive)
    house.install()
    house.database.run(
        "INSERT INTO public.event SELECT n + 10000, '2024-06-01' FROM generate_series(1, 2500) n"
    )
    fill(house, 1500)
    assert house.run("archive")["steps"][0]["rows"] == 4000
    assert ids(house) == [*range(1, 1501), *range(10001, 12501)]


def test_rows_that_a_trigger_keeps_are_told_and_leave_no_bytes_behind(event):
    fill(event, 60)
    event.database.run(
        "CREATE FUNCTION public.keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$"
    )
    event.database.run(
        "CREATE TRIGGER keeps BEFORE DELETE ON public.event FOR EACH ROW EXECUTE FUNCTION public.keep()"
    )
    run = event.run("archive")
    assert [step["status"] for step in run["steps"]] == ["ineffective"]
    assert files(event)[0].stat().st_size == 0
    assert event.database.value("SELECT count(*) FROM public.event") == 70


def test_a_hostile_trigger_gains_nothing_and_a_superuser_is_refused(event):
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


def test_only_what_a_condition_holds_for(event):
    fill(event, 100)
    event.extra += "where = '''id % 2 = 0 AND note LIKE '%4' -- even, and four'''\n"
    plan = event.sereno("plan", "archive", "--sql").stdout
    assert "note LIKE" in plan
    assert event.run("archive")["steps"][0]["rows"] == 10
    assert ids(event) == list(range(4, 101, 10))
    event.extra = event.extra.replace("id % 2", "no_such % 2")
    run = event.run("archive")
    assert (run["state"], "no_such" in run["reason"]) == ("failed", True)
    event.extra = event.extra.replace("no_such % 2 = 0", "true; DROP TABLE public.event")
    done = event.sereno("plan", "archive", check=False)
    assert (done.returncode, "is not one SQL condition" in done.stderr) == (78, True)


def test_rows_that_vanish_between_two_attempts_leave_no_trace(event, monkeypatch):
    """The first attempt wrote a frame and had to begin again; then somebody had deleted the rows: nothing is left."""
    fill(event, 20)
    take, tries = to_file._Mover.take, []

    def vanish(*arguments):
        tries.append(take(*arguments))
        raise psycopg.errors.SerializationFailure

    def delete(*_):
        event.database.run("DELETE FROM public.event WHERE id > 0")

    monkeypatch.setattr(to_file._Mover, "take", vanish)
    monkeypatch.setattr(
        StepControl, "wait_while_paused", lambda control: delete() if tries else None
    )
    assert event.run("archive")["state"] == "finished"
    monkeypatch.undo()
    assert len(tries) == 1
    assert len(manifest(event)) == 1, "its header alone"
    event.database.run("INSERT INTO public.event VALUES (7, now() - interval '40 days')")
    assert event.run("archive")["state"] == "finished"
    assert ids(event) == [7]
    assert [path.name[7:] for path in files(event)] == [".copy.zst"], "no second file was begun"
    assert "no ledger knows" not in event.sereno("archive", "verify").stderr
