"""Expired partitions are detached, archived and dropped."""

import threading
import time

import pytest
import zstandard

ARCHIVE = """
[[jobs.archive.tables]]
table = 'public.event'
column = "at"
older_than = "30 days"
to = "file://{}"
partitions = "{}"
"""
LOG = """
[[jobs.log_cleanup.tables]]
table = 'public.event'
column = "at"
keep = "30 days"
partitions = "drop"
"""


pytestmark = pytest.mark.usefixtures("few_attempts")


@pytest.fixture
def prepare(any_house):
    """Return a function that creates a table with two expired partitions and a current one."""
    house = any_house
    run = house.database.run
    owner = f"owner_{house.maintain}"

    def create(how="drop", kind="declared", extra=ARCHIVE, also=""):
        if kind == "declared":
            run(
                "CREATE TABLE public.event (id bigint, at timestamptz NOT NULL, note text) PARTITION BY RANGE (at)"
            )
            part = "CREATE TABLE public.{} PARTITION OF public.event FOR VALUES FROM ({}) TO ({})"
        else:
            run("CREATE TABLE public.event (id bigint, at timestamptz NOT NULL, note text)")
            part = "CREATE TABLE public.{} (CHECK (at >= {} AND at < {})) INHERITS (public.event)"
        for name, first, end in (("one", "'2025-01-01'", "'2025-02-01'"), ("two", "'2025-02-01'", "'2025-03-01'"), ("now", "'2025-03-01'", "'2099-01-01'")):  # fmt: skip
            run(part.format(name, first, end))
        into = ("event", "event", "event") if kind == "declared" else ("one", "two", "now")
        run(
            f"INSERT INTO public.{into[0]} SELECT n, '2025-01-03', 'ä ' || n FROM generate_series(1, 3000) n"
        )
        run(
            f"INSERT INTO public.{into[1]} SELECT n, '2025-02-03', 'b' FROM generate_series(3001, 4000) n"
        )
        run(
            f"INSERT INTO public.{into[2]} SELECT n, now() - n * interval '1 day', 'c' FROM generate_series(1, 60) n"
        )
        run(f"CREATE ROLE {owner}; {also.format(owner=owner)}")
        for name in ("event", "one", "two", "now"):
            run(f"ALTER TABLE public.{name} OWNER TO {owner}")
        house.archive = house.folder / "archive"
        house.extra = extra.format(house.archive, how)
        house.with_owner = True
        house.install()
        run("VACUUM ANALYZE")
        return house

    yield create
    run(f"DROP OWNED BY {owner} CASCADE; DROP ROLE {owner}")


def archived_ids(house):
    """Return the ids in the archive files."""
    text = b""
    for path in sorted(house.archive.rglob("*.copy.zst")):
        with path.open("rb") as file:
            text += zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read()
    return sorted(int(line.split(b"\t")[0]) for line in text.splitlines())


def count_rows(house, table="event"):
    return house.database.value(f"SELECT count(*) FROM public.{table}")


@pytest.mark.parametrize("kind", ["declared", "inherited"])
def test_old_partitions_are_detached_archived_and_dropped(prepare, kind):
    house = prepare("drop", kind)
    run = house.run("archive")
    assert [(step["object"], step["status"], step["rows"]) for step in run["steps"]] == [
        ("public.one", "done", 3000),
        ("public.two", "done", 1000),
    ], run
    assert archived_ids(house) == list(range(1, 4001))
    assert count_rows(house) == 60, "rows of the current partition stay, expired or not"
    assert house.database.value(
        "SELECT to_regclass('public.one') IS NULL AND to_regclass('public.two') IS NULL"
    )
    assert "4,000 rows" in house.sereno("archive", "verify", "--deep").stdout
    if kind == "declared":
        restore = (
            "archive",
            "restore",
            "public.event",
            "--database",
            "main",
            "--privileged",
            "--yes",
            "--admin",
        )
        failed = house.sereno(*restore, house.database.dsn, check=False)
        assert "create the partition" in failed.stderr
        assert "2025-01" not in failed.stderr, "no data of rows"
        house.database.run(
            "CREATE TABLE public.back PARTITION OF public.event FOR VALUES FROM (MINVALUE) TO ('2025-03-01')"
        )
        house.sereno(*restore, house.database.dsn)
        assert (count_rows(house), count_rows(house, "back")) == (4060, 4000)
        house.database.run("DROP TABLE public.back")
    assert house.run("archive")["steps"] == []


def test_detached_partitions_are_kept_without_drop_option(prepare):
    house = prepare("detach")
    assert house.run("archive")["state"] == "finished"
    assert archived_ids(house) == list(range(1, 4001))
    assert (count_rows(house), count_rows(house, "one"), count_rows(house, "two")) == (
        60,
        3000,
        1000,
    )
    assert house.run("archive")["steps"] == [], "a detached partition is not archived again"


@pytest.mark.parametrize("kind", ["declared", "inherited"])
def test_expired_log_partitions_are_dropped(prepare, kind):
    house = prepare(kind=kind, extra=LOG)
    plan = house.sereno("plan", "log_cleanup", "--sql").stdout
    assert "DROP TABLE" in plan
    assert count_rows(house) == 4060, "a plan changes nothing"
    run = house.run("log_cleanup")
    assert [step["object"] for step in run["steps"]] == ["public.one", "public.two"], run
    assert count_rows(house) == 60
    assert not house.archive.exists()


@pytest.mark.parametrize("how", ["detach", "drop"])
def test_detach_blocked_by_reader_is_finished_by_next_run(prepare, how):
    """DETACH … CONCURRENTLY waits for the reader; the next run finalizes the pending partition."""
    house = prepare(how)
    with house.database.connect() as reader:
        reader.execute("SELECT count(*) FROM public.event")
        run = house.run("archive")
        assert {step["status"] for step in run["steps"]} == {"skipped"}, run
        assert all("blocked by pid" in step["reason"] for step in run["steps"]), run
        assert house.database.value(
            "SELECT inhdetachpending FROM pg_inherits WHERE inhrelid = 'public.one'::regclass"
        )
        assert archived_ids(house) == []
    run = house.run("archive")
    assert run["state"] == "finished", run
    assert archived_ids(house) == list(range(1, 4001)), "each row once, though two runs were needed"
    assert count_rows(house) == 60
    assert house.run("archive")["steps"] == []


def test_old_partitions_beside_default_partition_are_archived(prepare):
    house = prepare("drop", also="CREATE TABLE public.other PARTITION OF public.event DEFAULT; ALTER TABLE public.other OWNER TO {owner}")  # fmt: skip
    assert house.run("archive")["state"] == "finished"
    assert archived_ids(house) == list(range(1, 4001))
    assert count_rows(house) == 60


@pytest.mark.parametrize(
    "interruption",
    [
        "SELECT 1",
        "ALTER TABLE public.event DETACH PARTITION public.one",
    ],
    ids=["before detach", "before archive"],
)
def test_interrupted_partition_archive_is_completed(prepare, interruption):
    house = prepare("drop")
    house.database.run(
        'INSERT INTO sereno.detached_partition (instance, "schema", "table", "oid", partition_schema, partition)'
        " SELECT instance_id, 'public', 'event', 'public.one'::regclass, 'public', 'one' FROM sereno.owner"
    )
    house.database.run(interruption)
    assert "already begun" in house.plan("archive")[0].why
    assert house.run("archive")["state"] == "finished"
    assert archived_ids(house) == list(range(1, 4001))
    assert house.run("archive")["steps"] == []
    assert (
        house.database.value(
            "SELECT count(*) FROM sereno.detached_partition"
            " WHERE id NOT IN (SELECT id FROM sereno.detached_partition_end)"
        )
        == 0
    )


def test_inherited_table_with_additional_column_is_refused(prepare):
    house = prepare("drop", "inherited", also="ALTER TABLE public.one ADD COLUMN more int")
    run = house.run("archive")
    (one,) = [step for step in run["steps"] if step["object"] == "public.one"]
    assert "columns that its parent lacks" in one["reason"]
    assert archived_ids(house) == list(range(3001, 4001))
    assert count_rows(house, "one") == 3000


def test_inherited_table_with_unexpired_rows_is_kept(prepare):
    house = prepare("drop", "inherited", also="ALTER TABLE public.two DROP CONSTRAINT two_at_check; INSERT INTO public.two VALUES (0, now())")  # fmt: skip
    assert [step["object"] for step in house.run("archive")["steps"]] == ["public.one"]
    assert count_rows(house) == 1061


@pytest.mark.parametrize("configured", [True, False])
def test_missing_owner_privilege_is_refused_with_its_cure(prepare, configured):
    house = prepare("drop")
    house.database.run(f"REVOKE owner_{house.maintain} FROM {house.owner}")
    house.with_owner = configured
    run = house.run("archive")
    assert run["state"] == "failed"
    assert "databases.main.owner" in run["steps"][0]["reason"]
    assert "sereno install main" in run["steps"][0]["reason"]
    assert count_rows(house) == 4060


def test_concurrent_inserts_are_not_blocked_or_lost(prepare):
    """No INSERT waits for longer than a lock timeout, and no row is lost."""
    house = prepare("drop")
    slowest, stop, written = [0.0], threading.Event(), [0]

    def write():
        with house.database.connect(autocommit=True) as connection:
            while not stop.is_set():
                began = time.monotonic()
                connection.execute(
                    "INSERT INTO public.event VALUES (%s, now(), 'w')", (100_000 + written[0],)
                )
                slowest[0] = max(slowest[0], time.monotonic() - began)
                written[0] += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert house.run("archive")["state"] == "finished"
    finally:
        stop.set()
        writer.join()
    assert count_rows(house) == 60 + written[0]
    assert slowest[0] < 2, slowest


@pytest.mark.parametrize(
    ("extra", "error"),
    [
        (ARCHIVE + 'where = "true"', "whole partitions leave regardless of `where`"),
        (
            ARCHIVE.replace("file://{}", "table:public.old").replace("{}", "drop"),
            "whole partitions can go to files only",
        ),
    ],
)
def test_contradictory_partition_options_are_refused(any_house, extra, error):
    any_house.extra = extra.format(any_house.folder / "archive", "drop")
    any_house.write()
    assert error in any_house.sereno("config", "check", check=False).stderr


def test_detached_partition_is_reported_after_configuration_change(prepare):
    house = prepare("drop")
    with house.database.connect() as reader:
        reader.execute("SELECT count(*) FROM public.event")
        house.run("archive")
    house.extra = house.extra.replace('partitions = "drop"', 'key = "ctid"')
    house.install()
    (refusal,) = [step for step in house.plan("archive") if step.object == "public.one"]
    assert "not yet archived or dropped" in refusal.why
    verified = house.sereno("archive", "verify", check=False)
    assert verified.returncode == 1
    assert "public.one: detached since" in verified.stderr
    house.extra = house.extra.replace('key = "ctid"', 'partitions = "drop"')
    assert house.run("archive")["state"] == "finished"
    assert archived_ids(house) == list(range(1, 4001))


def test_replaced_detached_partition_table_is_not_written(prepare):
    """A trigger on the replaced table would run with the privileges of `maintain`."""
    house = prepare("drop")
    house.database.run(
        "DROP TABLE sereno.detached_partition_end; CREATE TABLE sereno.detached_partition_end (x int)"
    )
    house.database.run(
        "CREATE FUNCTION public.trap() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; "
        "CREATE TRIGGER trap BEFORE INSERT ON sereno.detached_partition_end FOR EACH ROW EXECUTE FUNCTION public.trap()"
    )
    run = house.run("archive")
    assert run["state"] == "failed"
    assert "missing or was changed" in run["reason"]
    assert count_rows(house) == 4060
