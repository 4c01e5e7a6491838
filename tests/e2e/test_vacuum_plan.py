"""`sereno plan vacuum analyze`: objects, order, reasons; lock waits of other sessions."""

import json
import threading
import time

import psycopg
import pytest

CONSUME_XIDS = """
    DO $$ BEGIN
      FOR i IN 1..95100 LOOP
        BEGIN INSERT INTO public.burnt VALUES (i); EXCEPTION WHEN unique_violation THEN NULL; END;
      END LOOP;
    END $$
"""


@pytest.fixture
def tables(house):
    """Create tables: near the freeze age, dead rows, clean, without autovacuum, partitioned."""
    house.with_logins = False
    run = house.database.run
    run(
        "CREATE TABLE public.burnt (a int);"
        " CREATE TABLE public.old (a int) WITH (autovacuum_freeze_max_age = 100000)"
    )
    run("INSERT INTO public.old SELECT generate_series(1, 1000)")
    run(CONSUME_XIDS)
    run("DROP TABLE public.burnt")
    for name, options in (("dirty", ""), ("fresh", ""), ("off", "WITH (autovacuum_enabled = off)")):
        run(f"CREATE TABLE public.{name} (a int, b text) {options}")
        run(
            f"INSERT INTO public.{name} SELECT n, repeat('x', 900) FROM generate_series(1, 20000) n"
        )
    run("CREATE TABLE public.parted (a int) PARTITION BY RANGE (a)")
    for number in range(2):
        run(f"CREATE TABLE public.part{number} PARTITION OF public.parted"
            f" FOR VALUES FROM ({number * 1000}) TO ({number * 1000 + 1000})")  # fmt: skip
    run("INSERT INTO public.parted SELECT generate_series(0, 1999)")
    run("SELECT pg_stat_force_next_flush()")
    run("VACUUM ANALYZE public.dirty, public.fresh, public.off, public.part0, public.part1")
    run("ANALYZE public.old")
    run("DELETE FROM public.dirty WHERE a % 3 = 0; DELETE FROM public.off WHERE a % 2 = 0")
    run("UPDATE public.fresh SET b = b WHERE a < 100")
    run("SELECT pg_stat_force_next_flush()")
    return house


def test_plan_lists_objects_in_order_with_reasons(tables):
    steps = json.loads(tables.sereno("plan", "vacuum", "analyze", "--json").stdout)["steps"]
    vacuum = [(step["object"], step["why"]) for step in steps if step["job"] == "vacuum"]
    names = [name for name, _ in vacuum]
    assert names == ["public.old", "public.off", "public.dirty", "database statistics"]
    assert vacuum[0][1].startswith("its oldest row is 95")
    assert vacuum[0][1].endswith("transactions old: frozen before autovacuum has to, at 95000")
    assert vacuum[1][1] == "dead rows: 10000, threshold 4050"
    assert vacuum[2][1] == "dead rows: 6666, threshold 4050"
    commands = {step["object"]: step["sql"] for step in steps}
    assert commands["public.old"] == 'VACUUM (SKIP_DATABASE_STATS, FREEZE) "public"."old"'
    analyze = [(step["object"], step["why"]) for step in steps if step["job"] == "analyze"]
    assert analyze == [
        ("public.parted", "never analyzed"),
        ("public.off", "10000 rows changed, threshold 2050"),
        ("public.dirty", "6666 rows changed, threshold 2050"),
    ]
    assert not any("fresh" in step["object"] for step in steps)


def test_vacuum_lock_wait_is_bounded_by_the_lock_timeout(tables):
    """VACUUM waits for a lock on one table; other sessions that want it do not queue behind it."""
    waits = []
    done = threading.Event()

    def lock_repeatedly():
        with psycopg.connect(tables.database.dsn, autocommit=True) as session:
            while not done.is_set():
                started = time.monotonic()
                with session.transaction():
                    # Conflicts with the lock of VACUUM, not with the one below.
                    session.execute("LOCK TABLE public.dirty IN SHARE MODE")
                waits.append(time.monotonic() - started)
                done.wait(0.02)

    with tables.database.connect() as holder:
        holder.execute("LOCK TABLE public.dirty IN SHARE MODE")
        waiter = threading.Thread(target=lock_repeatedly)
        waiter.start()
        try:
            run = tables.run("vacuum")
        finally:
            done.set()
            waiter.join()
        steps = {step["object"]: (step["status"], step["reason"]) for step in run["steps"]}
        status, reason = steps.pop("public.dirty")
        assert (status, f"blocked by pid {holder.info.backend_pid}" in reason) == ("skipped", True)
        assert {status for status, _ in steps.values()} == {"done"}
    # lock_timeout is 0.3 s: without it the other session would wait for the whole run.
    assert sorted(waits)[len(waits) // 2] < 0.3
