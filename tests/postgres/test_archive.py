"""Archiving to files: each row is stored in exactly one place."""

import json
import os

import psycopg
import pytest

from execution.control import StepControl
from retention.archive import to_file
from tests.postgres.archive_table import TABLE, files, fill, ids, manifest, refusal


@pytest.mark.parametrize("indexed", [True, False], ids=["by index", "by block"])
def test_old_rows_move_to_file_and_ledger_records_batches(event, indexed):
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


def test_file_of_another_writer_is_not_changed(event):
    """For a clone with the same configuration or an unknown file, a new file is created."""
    fill(event, 100)
    event.run("archive")
    (first,) = files(event)
    before = first.read_bytes()
    event.database.run(
        "DELETE FROM sereno.archive_batch"
    )  # as in a copy of the database from before the run
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


def test_bytes_after_last_batch_of_ledger_are_truncated(event):
    fill(event, 50)
    event.run("archive")
    (path,) = files(event)
    good = path.read_bytes()
    path.write_bytes(good + b"half a frame")
    event.database.run("INSERT INTO public.event VALUES (99, now() - interval '40 days')")
    assert event.run("archive")["state"] == "finished"
    assert path.read_bytes().startswith(good)
    assert ids(event) == sorted([*range(1, 51), 99])


def test_truncated_file_fails_run_and_no_row_is_deleted(event):
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
    ("change", "reason"),
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
def test_unsuitable_table_is_refused_with_reason_and_rows_stay(event, change, reason):
    fill(event, 5)
    event.database.run(change)
    run = event.run("archive")
    assert (run["state"], reason in run["reason"]) == ("failed", True), run["reason"]
    assert event.database.value("SELECT count(*) FROM public.event") == 15


def test_symlink_in_archive_path_is_refused(event):
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
def test_age_column_of_each_type(event, kind, old, young, epoch):
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


def test_uuid_column_other_than_version_7_is_refused(event):
    event.database.run(
        "ALTER TABLE public.event DROP COLUMN at, ADD COLUMN at uuid DEFAULT gen_random_uuid()"
    )
    event.database.run("INSERT INTO public.event (id) VALUES (1), (2)")
    assert "UUIDs other than version 7" in event.run("archive")["reason"]


def test_table_with_special_characters_in_name_is_archived(house):
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


def checksum(database):
    """Return a checksum of the rows, and the file node, of each table of a database."""
    tables = database.rows(
        "SELECT c.oid::regclass::text AS name, c.oid, c.relfilenode FROM pg_class c WHERE c.relkind = 'r'"
        " AND c.relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace) ORDER BY c.oid"
    )
    digest = "SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM {} t"
    return [(*table.values(), database.value(digest.format(table["name"]))) for table in tables]


def test_plan_changes_nothing(event):
    """Neither rows change nor is a transaction ID assigned."""
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
    next_xid = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text"
    before = checksum(event.database), event.database.value(next_xid)
    plan = event.sereno("plan", "archive", "log_cleanup", "--sql").stdout
    assert "COPY (DELETE FROM" in plan
    assert "DELETE FROM" in plan.replace("COPY (DELETE FROM", "")
    assert (checksum(event.database), event.database.value(next_xid)) == before
    assert not event.archive.exists()
    event.database.run("UPDATE public.event SET note = 'x' WHERE id = 7")
    assert checksum(event.database) != before[0], "the checksum detects a changed value"


def test_partitioned_table_is_archived_row_by_row(house):
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


def test_step_is_ineffective_and_file_empty_when_trigger_keeps_rows(event):
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


def test_where_condition_limits_archived_rows(event):
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


def test_rows_deleted_between_retries_leave_no_batch(event, monkeypatch):
    """The first attempt wrote a frame and failed; the rows were deleted before the retry."""
    fill(event, 20)
    take, attempts = to_file._Mover.take, []

    def take_and_fail(*arguments):
        attempts.append(take(*arguments))
        raise psycopg.errors.SerializationFailure

    def delete(*_):
        event.database.run("DELETE FROM public.event WHERE id > 0")

    monkeypatch.setattr(to_file._Mover, "take", take_and_fail)
    monkeypatch.setattr(
        StepControl, "wait_while_paused", lambda control: delete() if attempts else None
    )
    assert event.run("archive")["state"] == "finished"
    monkeypatch.undo()
    assert len(attempts) == 1
    assert len(manifest(event)) == 1, "only the header"
    event.database.run("INSERT INTO public.event VALUES (7, now() - interval '40 days')")
    assert event.run("archive")["state"] == "finished"
    assert ids(event) == [7]
    assert [path.name[7:] for path in files(event)] == [".copy.zst"], "no second file was created"
    assert "no ledger knows" not in event.sereno("archive", "verify").stderr


@pytest.fixture
def after_first_batch(monkeypatch):
    """Return a function that sets a callback for the end of the first batch."""

    def set_callback(callback):
        done, batches = to_file._Mover.done, []

        def hook(self):
            done(self)
            batches.append(1)
            if len(batches) == 1:
                callback()

        monkeypatch.setattr(to_file._Mover, "done", hook)

    return set_callback


DDL = {
    "new column": "ALTER TABLE public.event ADD COLUMN secret text; UPDATE public.event SET secret = 'precious ' || id",
    "new foreign key": "CREATE TABLE public.kid (e bigint REFERENCES public.event ON DELETE CASCADE); INSERT INTO public.kid SELECT id FROM public.event",
}


@pytest.mark.parametrize("change", list(DDL))
def test_ddl_during_run_fails_it_and_next_run_plans_again(event, after_first_batch, change):
    event.database.run("CREATE INDEX ON public.event (at)")
    fill(event, 3000)
    event.extra = "[governor]\nbatch_rows = 500\n" + event.extra
    after_first_batch(lambda: event.database.run(DDL[change]))
    run = event.run("archive")
    assert run["state"] == "failed"
    assert "have changed since planning" in run["steps"][0]["reason"]
    assert len(ids(event)) == 500
    if change == "new foreign key":
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
            for batch in batches
            if batch["file"].endswith("-2.copy.zst")
            for word in ("--batch", batch["batch"])
        ]
        event.sereno("archive", "restore", "public.event", "--database", "main", "--admin", event.database.dsn, "--privileged", "--yes", *newer)  # fmt: skip
        assert (
            event.database.value(
                "SELECT count(*) FROM public.event WHERE secret = 'precious ' || id"
            )
            == 2500
        )


def test_entries_with_same_files_and_different_keep_are_refused(event):
    odd = TABLE.format(event.archive) + "where = 'id % 2 = 1'\n"
    event.extra += (
        "where = 'id % 2 = 0'\nkeep = '7 days'\n" + odd + "keep = '7 years'\nhold = true\n"
    )
    done = event.sereno("config", "check", check=False)
    assert (
        done.returncode,
        "two entries archive rows of public.event to the same files" in done.stderr,
    ) == (78, True)


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        ("fifo", "is not a regular file"),
        ("missing", "its manifest is missing or unreadable"),
        ("table", "its manifest names another table: public.other"),
        ("columns", "its manifest names other columns than the ledger"),
        ("batch", "its manifest lists 1 batches that the ledger does not know"),
        ("position", "differ in the position or digest of a batch"),
    ],
)
def test_verify_reports_a_foreign_file_or_manifest(event, damage, fault):
    fill(event, 100)
    assert event.run("archive")["state"] == "finished"
    (path,) = files(event)
    (manifest,) = event.archive.rglob("*.manifest.jsonl")
    header, batch = (json.loads(line) for line in manifest.read_text().splitlines())
    if damage == "fifo":
        path.unlink()
        os.mkfifo(path)
    elif damage == "missing":
        manifest.unlink()
    else:
        changes = {
            "table": ({**header, "table": "other"}, [batch]),
            "columns": ({**header, "columns": [["id", "text"]]}, [batch]),
            "batch": (header, [batch, {**batch, "batch": "unknown"}]),
            "position": (header, [{**batch, "position": 7}]),
        }
        first, rest = changes[damage]
        manifest.write_text("".join(json.dumps(line) + "\n" for line in (first, *rest)))
    done = event.sereno("archive", "verify")
    assert done.returncode == 1
    assert fault in " ".join(done.stderr.split()), done.stderr
