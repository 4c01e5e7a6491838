"""Maintenance gives way to a migration, and goes on after it."""

import threading
import time

import psycopg
import pytest

from tests.postgres.archive_table import TABLE, fill, ids
from tests.postgres.dead_rows import create_dead_rows, reset_throttle, throttle_vacuum
from tests.postgres.migration_folder import Migrating
from tests.postgres.test_reindex import BUILDING, create_slow_invalid_index

ID = "0004_add_column"
FILES = {
    "migration.toml": 'title = "a column"\n',
    "prepare.sql": "ALTER TABLE t ADD COLUMN more int;",
    "prepare.check.sql": "-- @check none\nSELECT 1 WHERE false;",
    "prepare.rollback.sql": "ALTER TABLE t DROP COLUMN more;",
}
VACUUMING = "SELECT pid FROM pg_stat_progress_vacuum WHERE datname = current_database() AND heap_blks_scanned > 0"
ARCHIVING = """SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE a.application_name = 'sereno/archive' AND l.relation = 'public.event'::regclass"""
CHANGING = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND classid = 1936028270 AND objid = 4 AND granted"


class Background(threading.Thread):
    """Runs a job of the house in a thread."""

    def __init__(self, house, job, **options):
        super().__init__()
        self.house, self.job, self.options = house, job, options
        self.start()

    def run(self):
        self.ran = self.house.run(self.job, **self.options)


@pytest.fixture
def busy(house):
    """A database with a table whose VACUUM takes eight seconds, and a migration of that table."""
    made = Migrating(house)
    create_dead_rows(house.database, "t", rows=150_000)
    house.database.run(f"ALTER TABLE public.t OWNER TO {made.owner}")
    made.write(FILES, ID)
    made.install()
    throttle_vacuum(house.database, limit=1)
    return made


def test_vacuum_gives_way_within_two_seconds_and_goes_on(busy, wait):
    database = busy.database
    vacuum = Background(busy.house, "vacuum")
    wait(lambda: database.rows(VACUUMING), what="the VACUUM")
    ran = migrate_beside(busy, VACUUMING)
    reset_throttle(database)
    vacuum.join(60)
    assert ran.state.value == "finished", ran
    assert database.rows(
        "SELECT FROM pg_attribute WHERE attrelid = 'public.t'::regclass AND attname = 'more'"
    )
    steps = {step["object"]: step for step in vacuum.ran["steps"]}
    assert (vacuum.ran["state"], steps["public.t"]["status"]) == ("finished", "done")


def migrate_beside(made, working):
    """Apply the migration; the work that a query shows has to be gone soon after it begins."""
    gone, database = [], made.database

    def watch():
        with psycopg.connect(database.dsn, autocommit=True) as second:
            while not second.execute(CHANGING).fetchall():
                time.sleep(0.01)
            began = time.monotonic()
            while second.execute(working).fetchall():
                time.sleep(0.02)
            gone.append(time.monotonic() - began)

    watcher = threading.Thread(target=watch)
    watcher.start()
    ran = run_in_process(made.house.context(), ID)
    watcher.join(30)
    assert max(gone, default=99) < 4, "two seconds, and some room for a busy machine"
    return ran


def test_rebuild_gives_way_within_two_seconds_and_goes_on(house, wait):
    house.with_owner = True  # drops what a cancelled build leaves behind
    made = Migrating(house)
    database = house.database
    create_slow_invalid_index(database, rows=2500)
    database.run(f"ALTER TABLE public.t OWNER TO {made.owner}")
    database.run(f"ALTER FUNCTION public.slow OWNER TO {made.owner}")
    made.write(FILES, ID)
    made.install()
    rebuild = Background(house, "vacuum")
    wait(lambda: database.rows(BUILDING) or not rebuild.is_alive(), what="the rebuild")
    assert rebuild.is_alive(), rebuild.ran
    ran = migrate_beside(made, BUILDING)
    rebuild.join(60)
    assert ran.state.value == "finished", ran
    (step,) = [one for one in rebuild.ran["steps"] if one["name"] == "reindex"]
    assert (step["object"], step["status"]) == ("public.slow", "done")
    assert not database.rows("SELECT FROM pg_index WHERE NOT indisvalid")


def test_archive_gives_way_within_two_seconds_and_goes_on(house, wait):
    made = Migrating(house)
    database = house.database
    database.run("CREATE TABLE public.event (id bigint PRIMARY KEY, at timestamptz, note text)")
    house.archive = house.folder / "archive"
    house.extra += TABLE.format(house.archive) + "\n[governor]\nbatch_rows = 20\n"
    database.run(f"ALTER TABLE public.event OWNER TO {made.owner}")
    fill(house, 4000)
    holds = "ALTER TABLE event ALTER COLUMN note SET DEFAULT 'x';\nSELECT pg_sleep(3);"
    made.write(
        FILES
        | {
            "prepare.sql": holds,
            "prepare.rollback.sql": "ALTER TABLE event ALTER COLUMN note DROP DEFAULT;",
        },
        ID,
    )
    made.install()
    archive = Background(house, "archive")
    wait(lambda: database.value("SELECT count(*) FROM sereno.archive_batch") > 2)
    ran = migrate_beside(made, ARCHIVING)
    archive.join(60)
    assert ran.state.value == "finished", ran
    (step,) = archive.ran["steps"]
    assert (archive.ran["state"], step["rows"]) == ("finished", 4000)
    assert "a migration" in step["paused_by"]
    assert ids(house) == list(range(1, 4001))


def run_in_process(context, migration):
    """Apply a migration in this process; return the run."""
    from daemon.migrating.requests import Wish, migration_task, preview
    from daemon.runs.runner import Runner
    from execution.progress import NoProgress
    from execution.window import open_window

    task = migration_task("main", preview(context, "main", Wish(migration)).request)
    return Runner(context, NoProgress()).run(task, open_window(None))


def test_stranger_that_holds_the_lock_of_changes_pauses_nothing(house):
    made = Migrating(house)
    made.database.run("CREATE ROLE stranger_of_changes LOGIN")
    try:
        with made.database.connect("stranger_of_changes", autocommit=True) as stranger:
            stranger.execute("SELECT pg_advisory_lock(1936028270, 4)")
            assert house.run("analyze")["state"] == "finished"
            made.write(
                FILES
                | {
                    "prepare.sql": "ALTER TABLE users ADD COLUMN more int;",
                    "prepare.rollback.sql": "ALTER TABLE users DROP COLUMN more;",
                },
                ID,
            )
            assert made.migrate("apply", ID, "--yes").returncode == 0
    finally:
        made.database.run("DROP ROLE stranger_of_changes")


def test_rows_that_leave_pause_for_a_migration(house):
    """The clean-up of a table stops between two batches while a migration changes tables."""
    made = Migrating(house)
    from execution import governor
    from execution.server_signals import read_sample, read_server
    from postgres.fencing.advisory_locks import changes_lock
    from postgres.session import MAINTAIN, MIGRATE, open_session

    target = house.context().target("main")
    with open_session(target, MAINTAIN, "probe") as maintain:
        limits = governor.Limits()

        def sample():
            return read_sample(maintain, read_server(maintain))

        assert governor.pause_reason(sample(), limits) is None
        with open_session(target, MIGRATE, "migrate") as migrate, changes_lock(migrate):
            seen = sample()
            assert f"a migration, pid {migrate.facts.pid}" == governor.pause_reason(seen, limits)
            assert governor.cancel_reason(seen, limits) is not None
            own = governor.Limits(migrations=False)
            assert governor.pause_reason(seen, own) is None
        assert governor.pause_reason(sample(), limits) is None
    assert made.login
