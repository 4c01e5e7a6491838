"""Out of everyone's way: who waits behind us does not wait long, and a critical signal ends what is in flight."""

import threading
import time

import pytest
from psycopg.errors import LockNotAvailable

from execution.window import open_window
from postgres.session import Target, open_session

VACUUMING = "SELECT pid FROM pg_stat_progress_vacuum WHERE datname = current_database() AND heap_blks_scanned > 0"


@pytest.fixture
def slow(house):
    """A table whose VACUUM takes about eight seconds, in sessions that begin before `RESET ALL`."""
    rows = 150_000
    house.with_logins = False
    run = house.database.run
    run("CREATE TABLE public.t (a int) WITH (autovacuum_enabled = off)")
    run(f"INSERT INTO public.t SELECT generate_series(1, {rows})")
    run("DELETE FROM public.t WHERE a % 2 = 0; SELECT pg_stat_force_next_flush()")
    for name, value in {
        "delay": 10,
        "limit": 1,
        "page_hit": 1,
        "page_miss": 1,
        "page_dirty": 0,
    }.items():
        run(f'ALTER DATABASE "{house.database.name}" SET vacuum_cost_{name} = {value}')
    return house


class Night(threading.Thread):
    def __init__(self, house, **options):
        super().__init__()
        self.house, self.options = house, options
        self.start()

    def run(self):
        self.ran = self.house.run("vacuum", **self.options)


def test_a_vacuum_gives_way_to_who_waits_for_its_lock_and_goes_on_afterwards(slow, wait):
    database = slow.database
    night = Night(slow)
    wait(lambda: database.rows(VACUUMING), what="the VACUUM")
    began = time.monotonic()
    with database.connect(autocommit=True) as other:
        other.execute("ALTER TABLE public.t ADD COLUMN b int")
    waited = time.monotonic() - began
    database.run(f'ALTER DATABASE "{database.name}" RESET ALL')
    night.join(40)
    steps = {step["object"]: step for step in night.ran["steps"]}
    assert waited < 3, "the other did not wait for the end of the VACUUM"
    assert (night.ran["state"], steps["public.t"]["status"]) == ("finished", "done")


def test_a_critical_signal_ends_it_and_the_table_is_left_for_the_next_night(slow, wait):
    database = slow.database
    database.run("CREATE TABLE public.hold (reason text)")
    slow.extra = (
        '[governor]\nquery = "SELECT reason FROM public.hold"\ncritical = 1.0\npatience = "1s"\n'
    )
    night = Night(slow)
    wait(lambda: database.rows(VACUUMING), what="the VACUUM")
    database.run("INSERT INTO public.hold VALUES ('month end')")
    wait(lambda: not database.rows(VACUUMING), 5, "its end")
    night.join(20)
    steps = {step["object"]: step for step in night.ran["steps"]}
    assert night.ran["state"] == "throttled"
    assert (steps["public.t"]["status"], steps["public.t"]["paused_by"]) == (
        "unfinished",
        "governor.query: month end",
    )
    database.run("DELETE FROM public.hold")
    database.run(f'ALTER DATABASE "{database.name}" RESET ALL')
    assert slow.run("vacuum")["state"] == "finished"


def test_what_keeps_from_wraparound_gives_way_to_nobody(slow, wait):
    database = slow.database
    database.run("ALTER TABLE public.t SET (autovacuum_freeze_max_age = 100000)")
    database.run(
        "CREATE PROCEDURE public.burn() LANGUAGE plpgsql AS"
        " $$ BEGIN FOR n IN 1..95100 LOOP PERFORM txid_current(); COMMIT; END LOOP; END $$"
    )
    database.run("CALL public.burn()")
    database.run(
        "CREATE TABLE public.hold (reason text); INSERT INTO public.hold VALUES ('month end')"
    )
    slow.extra = "[governor]\ncritical = 1.0\n"
    night = Night(slow, window=open_window(30))
    wait(lambda: database.rows(VACUUMING), what="the VACUUM")
    with database.connect(autocommit=True) as other:
        other.execute("SET lock_timeout = '3s'")
        with pytest.raises(LockNotAvailable):
            other.execute("ALTER TABLE public.t ADD COLUMN b int")
    assert database.rows(VACUUMING)
    database.run(
        "SELECT pg_cancel_backend(pid) FROM pg_stat_progress_vacuum WHERE datname = current_database()"
    )
    night.join(30)


def test_a_dump_is_waited_for(slow, wait):
    database = slow.database
    with database.connect(autocommit=True, application_name="pg_dump"):
        slow.extra = '[governor]\npatience = "1s"\n'
        ran = slow.run("vacuum")
        assert ran["state"] == "throttled"
        assert ran["steps"][0]["paused_by"].startswith("pg_dump, pid ")
        slow.extra = "[governor]\nbackups = false\n"
        assert slow.run("vacuum")["state"] == "finished"


def test_a_table_that_autovacuum_is_on_is_left_to_it(house, table):
    from jobs import analyze, vacuum
    from jobs.table_statistics import TableStatistics

    seen = TableStatistics([table("t", dead=500, modified=500, worker=4711)], {}, 180000)
    for step, *_ in (
        analyze.plan(analyze.Observation(seen, {})),
        vacuum.plan(vacuum.Observation(seen)),
    ):
        assert step.skip.reason == "left to autovacuum: its worker is on the table, pid 4711"
    (urgent, *_) = vacuum.plan(
        vacuum.Observation(TableStatistics([table("t", age=2e8, worker=4711)], {}, 180000))
    )
    assert (urgent.skip, urgent.urgent) == (None, True)


def test_a_login_that_may_not_see_the_servers_settings_works_all_the_same(any_house, flush):
    """An owner's own login, without pg_monitor: what it cannot see of the disk is no reason to skip its tables."""
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


def test_gentle_and_full_and_never_faster_than_the_dba_has_set(house):
    run = house.database.run
    with open_session(Target("main", house.database.dsn), "maintain", "x") as opened:
        for gentle, delay, limit in (
            (True, "1ms", "400"),
            (False, "0", "200"),
            (True, "1ms", "400"),
        ):
            opened.set_cost(gentle=gentle)
            assert opened.rows(b"SHOW vacuum_cost_delay")[0]["vacuum_cost_delay"] == delay
            assert opened.rows(b"SHOW vacuum_cost_limit")[0]["vacuum_cost_limit"] == limit
    run(f'ALTER DATABASE "{house.database.name}" SET vacuum_cost_delay = 20')
    with open_session(Target("main", house.database.dsn), "maintain", "x") as opened:
        opened.set_cost(gentle=True)
        assert opened.rows(b"SHOW vacuum_cost_delay")[0]["vacuum_cost_delay"] == "20ms", (
            "never faster than the DBA's"
        )
