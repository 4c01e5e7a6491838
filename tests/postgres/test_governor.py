"""Governor on a server: lock waiters, critical signals, backups, autovacuum, pace."""

import threading
import time

import pytest
from psycopg.errors import LockNotAvailable

from execution.window import open_window
from postgres.session import MAINTAIN, Target, open_session
from tests.postgres.dead_rows import create_dead_rows, reset_throttle, throttle_vacuum

VACUUMING = "SELECT pid FROM pg_stat_progress_vacuum WHERE datname = current_database() AND heap_blks_scanned > 0"


@pytest.fixture
def slow_vacuum(house):
    """A house with a table whose VACUUM takes eight seconds, until `reset_throttle`."""
    house.with_logins = False
    create_dead_rows(house.database, "t", rows=150_000)
    house.database.run("SELECT pg_stat_force_next_flush()")
    throttle_vacuum(house.database, limit=1)
    return house


class VacuumThread(threading.Thread):
    def __init__(self, house, **options):
        super().__init__()
        self.house, self.options = house, options
        self.start()

    def run(self):
        self.ran = self.house.run("vacuum", **self.options)


def test_vacuum_is_cancelled_for_lock_waiter_and_retried(slow_vacuum, wait):
    database = slow_vacuum.database
    vacuum_thread = VacuumThread(slow_vacuum)
    wait(lambda: database.rows(VACUUMING), what="the VACUUM")
    began = time.monotonic()
    with database.connect(autocommit=True) as other:
        other.execute("ALTER TABLE public.t ADD COLUMN b int")
    waited = time.monotonic() - began
    reset_throttle(database)
    vacuum_thread.join(40)
    steps = {step["object"]: step for step in vacuum_thread.ran["steps"]}
    assert waited < 3, "the waiter did not wait for the end of the VACUUM"
    assert (vacuum_thread.ran["state"], steps["public.t"]["status"]) == ("finished", "done")


def test_critical_signal_cancels_vacuum_and_next_run_repeats_it(slow_vacuum, wait):
    database = slow_vacuum.database
    database.run("CREATE TABLE public.hold (reason text)")
    slow_vacuum.extra = (
        '[governor]\nquery = "SELECT reason FROM public.hold"\ncritical = 1.0\npatience = "1s"\n'
    )
    vacuum_thread = VacuumThread(slow_vacuum)
    wait(lambda: database.rows(VACUUMING), what="the VACUUM")
    database.run("INSERT INTO public.hold VALUES ('month end')")
    wait(lambda: not database.rows(VACUUMING), 5, "the end of the VACUUM")
    vacuum_thread.join(20)
    steps = {step["object"]: step for step in vacuum_thread.ran["steps"]}
    assert vacuum_thread.ran["state"] == "throttled"
    assert (steps["public.t"]["status"], steps["public.t"]["paused_by"]) == (
        "unfinished",
        "governor.query: month end",
    )
    database.run("DELETE FROM public.hold")
    reset_throttle(database)
    assert slow_vacuum.run("vacuum")["state"] == "finished"


def test_wraparound_vacuum_is_not_cancelled_for_lock_waiter_or_critical_signal(slow_vacuum, wait):
    database = slow_vacuum.database
    database.run("ALTER TABLE public.t SET (autovacuum_freeze_max_age = 100000)")
    database.run(
        "CREATE PROCEDURE public.burn() LANGUAGE plpgsql AS"
        " $$ BEGIN FOR n IN 1..95100 LOOP PERFORM txid_current(); COMMIT; END LOOP; END $$"
    )
    database.run("CALL public.burn()")
    database.run("CREATE TABLE public.hold (reason text)")
    slow_vacuum.extra = (
        '[governor]\nquery = "SELECT reason FROM public.hold"\ncritical = 1.0\npatience = "1s"\n'
    )
    vacuum_thread = VacuumThread(slow_vacuum, window=open_window(30))
    wait(lambda: database.rows(VACUUMING), what="the VACUUM")
    database.run("INSERT INTO public.hold VALUES ('month end')")
    with database.connect(autocommit=True) as other:
        other.execute("SET lock_timeout = '3s'")
        with pytest.raises(LockNotAvailable):
            other.execute("ALTER TABLE public.t ADD COLUMN b int")
    assert database.rows(VACUUMING)
    database.run(
        "SELECT pg_cancel_backend(pid) FROM pg_stat_progress_vacuum WHERE datname = current_database()"
    )
    vacuum_thread.join(30)


def test_run_is_paused_during_pg_dump(slow_vacuum, wait):
    database = slow_vacuum.database
    with database.connect(autocommit=True, application_name="pg_dump"):
        slow_vacuum.extra = '[governor]\npatience = "1s"\n'
        ran = slow_vacuum.run("vacuum")
        assert ran["state"] == "throttled"
        assert ran["steps"][0]["paused_by"].startswith("pg_dump, pid ")
        slow_vacuum.extra = "[governor]\nbackups = false\n"
        assert slow_vacuum.run("vacuum")["state"] == "finished"


def test_table_with_autovacuum_worker_is_skipped_unless_urgent(house, table):
    from jobs import analyze, vacuum
    from jobs.table_statistics import TableStatistics

    statistics = TableStatistics([table("t", dead=500, modified=500, worker=4711)], {}, 180000)
    for step, *_ in (
        analyze.plan(analyze.Observation(statistics, {})),
        vacuum.plan(vacuum.Observation(statistics)),
    ):
        assert step.skip.reason == "left to autovacuum: its worker is on the table, pid 4711"
    (urgent, *_) = vacuum.plan(
        vacuum.Observation(TableStatistics([table("t", age=2e8, worker=4711)], {}, 180000))
    )
    assert (urgent.skip, urgent.urgent) == (None, True)


def test_login_without_pg_monitor_can_vacuum(any_house, flush):
    """The login owns the table; unreadable disk settings are no reason to skip it."""
    run, house = any_house.database.run, any_house
    run(f"CREATE ROLE {house.maintain} LOGIN")
    run("CREATE TABLE public.t (a int) WITH (autovacuum_enabled = off)")
    run(f"ALTER TABLE public.t OWNER TO {house.maintain}")
    run("INSERT INTO public.t SELECT generate_series(1, 5000)")
    run("DELETE FROM public.t WHERE a % 2 = 0")
    flush()
    house.with_logins = False
    path = house.write()
    path.write_text(path.read_text().replace("user=postgres", f"user={house.maintain}"))
    house.write = lambda: path
    ran = house.run("vacuum")
    steps = {step["object"]: (step["status"], step["reason"]) for step in ran["steps"]}
    assert steps["public.t"] == ("done", "")


def test_vacuum_cost_settings_of_pace_are_no_faster_than_database_setting(house):
    run = house.database.run
    with open_session(Target("main", house.database.dsn), MAINTAIN, "x") as opened:
        for gentle, delay, limit in (
            (True, "1ms", "400"),
            (False, "0", "200"),
            (True, "1ms", "400"),
        ):
            opened.set_cost(gentle=gentle)
            assert opened.rows(b"SHOW vacuum_cost_delay")[0]["vacuum_cost_delay"] == delay
            assert opened.rows(b"SHOW vacuum_cost_limit")[0]["vacuum_cost_limit"] == limit
    run(f'ALTER DATABASE "{house.database.name}" SET vacuum_cost_delay = 20')
    with open_session(Target("main", house.database.dsn), MAINTAIN, "x") as opened:
        opened.set_cost(gentle=True)
        assert opened.rows(b"SHOW vacuum_cost_delay")[0]["vacuum_cost_delay"] == "20ms"
