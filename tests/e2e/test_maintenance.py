"""`sereno plan vacuum analyze` as its user reads it: the right objects, in the right order, for the right reasons."""

import json
import threading
import time

import psycopg
import pytest

BURN = """
    DO $$ BEGIN
      FOR i IN 1..95100 LOOP
        BEGIN INSERT INTO public.burnt VALUES (i); EXCEPTION WHEN unique_violation THEN NULL; END;
      END LOOP;
    END $$
"""


@pytest.fixture
def five(house):
    """A table near its age limit, a dirty one, a fresh one, one without autovacuum, a partitioned one."""
    house.with_logins = False
    run = house.database.run
    run(
        "CREATE TABLE public.burnt (a int); CREATE TABLE public.old (a int) WITH (autovacuum_freeze_max_age = 100000)"
    )
    run("INSERT INTO public.old SELECT generate_series(1, 1000)")
    run(BURN)
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


def test_the_plan_is_in_the_right_order_for_the_right_reasons(five):
    steps = json.loads(five.sereno("plan", "vacuum", "analyze", "--json").stdout)["steps"]
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


def test_nobody_waits_behind_us_longer_than_a_lock_timeout(five):
    """An open transaction has one table; whoever else wants it is not held up by our waiting for it."""
    waits = []
    over = threading.Event()

    def others():
        with psycopg.connect(five.database.dsn, autocommit=True) as session:
            while not over.is_set():
                began = time.monotonic()
                with session.transaction():
                    session.execute(
                        "LOCK TABLE public.dirty IN SHARE MODE"
                    )  # it conflicts with VACUUM's
                waits.append(time.monotonic() - began)
                over.wait(0.02)

    with five.database.connect() as holder:
        holder.execute("LOCK TABLE public.dirty IN SHARE MODE")
        watcher = threading.Thread(target=others)
        watcher.start()
        try:
            run = five.run("vacuum")
        finally:
            over.set()
            watcher.join()
        steps = {step["object"]: (step["status"], step["reason"]) for step in run["steps"]}
        status, reason = steps.pop("public.dirty")
        assert (status, f"blocked by pid {holder.info.backend_pid}" in reason) == ("skipped", True)
        assert {status for status, _ in steps.values()} == {"done"}
    # Behind a lock_timeout of 0.3 s: without one, the others would wait as long as the whole run.
    assert sorted(waits)[len(waits) // 2] < 0.3
