"""`sereno archive list`, `verify` and `restore`."""

import fcntl
import json
import os

import pytest

from postgres.session import MAINTAIN, open_session
from retention.archive.verify import verify
from tests.postgres.archive_table import TABLE, files, fill


def test_archive_is_listed_verified_and_restored(event):
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
    restored = json.loads(event.sereno(*restore, "--privileged", "--json").stdout)
    assert sum(batch["rows"] for batch in restored["restored"]) == 3000
    assert event.database.rows("SELECT * FROM public.event ORDER BY id") == before
    again = json.loads(event.sereno(*restore, "--privileged", "--json").stdout)
    assert (again["restored"], again["restored_earlier"]) == ([], len(listed))


def test_restore_fails_on_existing_rows_without_skip(event):
    fill(event, 20)
    event.run("archive")
    event.database.run("INSERT INTO public.event VALUES (7, now(), 'newer')")
    restore = ("archive", "restore", "public.event", "--database", "main", "--admin", event.database.dsn, "--yes", "--privileged")  # fmt: skip
    refused = event.sereno(*restore, check=False)
    assert (refused.returncode, "duplicate key" in refused.stderr) == (2, True)
    assert event.database.value("SELECT count(*) FROM public.event") == 11
    output = event.sereno(*restore, "--skip").stdout
    assert "19 rows restored, 1 already present" in output
    assert event.database.value("SELECT note FROM public.event WHERE id = 7") == "newer"


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda path: path.unlink(), "No such file"),
        (lambda path: path.write_bytes(bytes([*path.read_bytes()[:-9], path.read_bytes()[-9] ^ 1, *path.read_bytes()[-8:]])), "the frame at 0"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "ends at"),
        (lambda path: path.write_bytes(path.read_bytes() + b"x"), "1 bytes behind"),
        (lambda path: path.with_name("1999-01.copy.zst").write_text("?"), "not in the ledger"),
    ],
    ids=["missing", "flipped", "short", "long", "unknown"],
)  # fmt: skip
def test_verify_reports_damaged_or_unknown_file(event, damage, fault):
    fill(event, 20)
    event.run("archive")
    damage(files(event)[0])
    done = event.sereno("archive", "verify")
    assert (done.returncode, fault in done.stderr) == (1, True), done.stderr
    assert str(event.archive) in done.stderr


def test_restore_names_failed_batch_and_raises_statement_timeout(
    event,
    monkeypatch,
):
    fill(event, 5)
    event.run("archive")
    (batch,) = json.loads(event.sereno("archive", "list", "--json").stdout)
    (path,) = files(event)
    restore = ("archive", "restore", "public.event", "--database", "main", "--admin", event.database.dsn, "--privileged", "--yes")  # fmt: skip
    path.rename(path.with_name("aside"))
    done = event.sereno(*restore, check=False)
    assert (done.returncode, batch["batch"] in done.stderr, str(path) in done.stderr) == (
        2,
        True,
        True,
    )
    assert "0 batches were restored" in done.stderr
    path.with_name("aside").rename(path)
    wrong = event.sereno("archive", "restore", "public.nope", "--database", "main", "--admin", event.database.dsn, "--yes", check=False)  # fmt: skip
    assert (wrong.returncode, "GRANT" in wrong.stderr) == (2, False)
    event.database.run("CREATE FUNCTION public.check_timeout() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF current_setting('statement_timeout') = '1min' THEN RAISE 'too short'; END IF; RETURN NEW; END $$; CREATE TRIGGER check_timeout BEFORE INSERT ON public.event FOR EACH ROW EXECUTE FUNCTION public.check_timeout()")  # fmt: skip
    assert event.sereno(*restore).returncode == 0


def test_verify_and_list_fail_without_ledger(event):
    fill(event, 5)
    event.run("archive")
    event.database.run("ALTER TABLE sereno.archive_batch RENAME TO aside")
    for word in ("verify", "list"):
        done = event.sereno("archive", word, check=False)
        assert (done.returncode, "sereno install" in done.stderr) == (2, True)


def test_verify_during_run_reports_no_fault_in_unfinished_batch(event, wait):
    fill(event, 50)
    event.run("archive")
    (path,) = files(event)
    (path.parent / "2031-01.copy.zst").touch()
    locked, context = [], event.context()

    def append_to_file(_batch):
        if not locked:
            with path.open("ab") as file:
                file.write(b"of a batch that is being written")
            locked.append(os.open(path.parent, os.O_RDONLY))
            fcntl.flock(locked[0], fcntl.LOCK_EX)

    with open_session(context.target("main"), MAINTAIN, "archive") as opened:
        assert verify(opened, progress=append_to_file).faults == []
    os.close(locked[0])
    done = event.sereno("archive", "verify")
    assert (done.returncode, "32 bytes behind" in done.stderr) == (1, True)


def test_verify_accepts_dropped_table(event):
    fill(event, 5)
    event.run("archive")
    event.database.run("DROP TABLE public.event")
    assert event.sereno("archive", "verify").returncode == 0
    assert "no longer exists" in event.sereno("archive", "verify", "--deep").stderr


def test_verify_does_not_report_partition_whose_detach_failed(house):
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


def test_restore_of_a_name_in_another_case_names_the_archived_table(event):
    fill(event, 3)
    event.run("archive")
    admin = event.database.dsn
    restore = ("archive", "restore", 'public."Event"', "--database", "main", "--yes")
    done = event.sereno(*restore, "--privileged", "--admin", admin, check=False)
    assert (done.returncode, "did you mean 'public.event'?" in done.stderr) == (2, True), (
        done.stderr
    )


def test_restore_names_a_sequence_that_is_behind_the_restored_keys(house):
    house.database.run(
        "CREATE TABLE public.event (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,"
        " at timestamptz)"
    )
    house.database.run(
        "INSERT INTO public.event (at) SELECT '2020-01-01' FROM generate_series(1, 9)"
    )
    house.extra = TABLE.format(house.folder / "archive")
    house.install()
    assert house.run("archive")["steps"][0]["rows"] == 9
    house.database.run("TRUNCATE public.event RESTART IDENTITY")
    restore = ("archive", "restore", "public.event", "--database", "main", "--yes", "--privileged")
    done = house.sereno(*restore, "--admin", house.database.dsn)
    cure = "SELECT setval('public.event_id_seq', 9)"
    assert f"public.event_id_seq is behind the restored keys (highest 9): {cure}" in done.stdout
    house.database.run(cure)
    house.database.run("INSERT INTO public.event (at) VALUES (now())")
    again = house.sereno(*restore, "--admin", house.database.dsn)
    assert "is behind" not in again.stdout
