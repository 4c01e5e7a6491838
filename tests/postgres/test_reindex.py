"""Reindex steps of job vacuum: plan, invalid indexes, leftovers of interrupted builds."""

import signal
import threading
import time
from contextlib import contextmanager

import psycopg
import pytest

from domain.memory import Memory
from execution.window import open_window
from jobs.reindex import Indexes, InvalidIndex, plan
from jobs.steps import rebuild_index
from jobs.steps.rebuild_index import BloatLimits
from postgres.catalog.index_bloat import IndexBloat
from postgres.identifiers import Relation
from postgres.session import MAINTAIN, Login

MEGABYTE = 10**6
INVALID = """
    SELECT i.relname AS name FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
    WHERE NOT (x.indisvalid AND x.indisready AND x.indislive) ORDER BY 1
"""
SLOW = """
    CREATE FUNCTION public.slow(int) RETURNS int IMMUTABLE LANGUAGE plpgsql
      AS 'BEGIN PERFORM pg_catalog.pg_sleep(0.002); RETURN $1; END';
    CREATE TABLE public.t (a int);
    INSERT INTO public.t VALUES (1), (1);
"""
BUILDING = "SELECT pid FROM pg_stat_progress_create_index"


def invalid_indexes(database):
    return [row["name"] for row in database.rows(INVALID)]


def cancel_concurrent_build(database, statement):
    """Run a concurrent build that is cancelled while it waits for an old snapshot."""
    with database.connect() as old:
        old.execute(
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM pg_class LIMIT 1"
        )
        with database.connect(autocommit=True) as builder:
            builder.execute("SET statement_timeout = 500")
            with pytest.raises(psycopg.errors.QueryCanceled):
                builder.execute(statement)


def create_slow_invalid_index(database, rows=1500):
    """Create an invalid index that takes some seconds to rebuild."""
    database.run(SLOW)
    with pytest.raises(psycopg.errors.UniqueViolation):
        database.run("CREATE UNIQUE INDEX CONCURRENTLY slow ON public.t (public.slow(a))")
    database.run("DELETE FROM public.t")
    database.run(f"INSERT INTO public.t SELECT generate_series(1, {rows})")


@contextmanager
def concurrent_alter(database, wait):
    """Run ALTER TABLE in another session during an index build; yield the list of its seconds."""
    wait_seconds = []

    def alter():
        wait(lambda: database.rows(BUILDING))
        with database.connect(autocommit=True) as other:
            began = time.monotonic()
            other.execute("ALTER TABLE public.t SET (fillfactor = 90)")
            wait_seconds.append(time.monotonic() - began)

    other = threading.Thread(target=alter)
    other.start()
    yield wait_seconds
    other.join()


def invalid_index(name, **changes):
    defaults = {
        "oid": 1,
        "bytes": 5,
        "exclusion": False,
        "leftover": False,
        "busy": None,
        "owned": True,
        "live": True,
        "owner": "app",
    }
    return InvalidIndex(
        index=Relation("public", name), table=Relation("public", "t"), **(defaults | changes)
    )


def bloat(name, wasted, share, owned=True):  # noqa: FBT002
    size = int(wasted / share)
    return IndexBloat(
        1, Relation("public", name), Relation("public", "t"), size, size - wasted, owned, "app"
    )


def test_plan_states_reason_of_each_step():
    indexes = Indexes(
        [
            invalid_index("left_ccnew", leftover=True), invalid_index("mine"), invalid_index("built", busy=7), invalid_index("theirs", owned=False),
            invalid_index("apart", exclusion=True), invalid_index("unwanted", live=False),
        ],
        [
            bloat("some", 150 * MEGABYTE, 0.6), bloat("most", 200 * MEGABYTE, 0.8), bloat("few", 90 * MEGABYTE, 0.9),
            bloat("slight", 900 * MEGABYTE, 0.4), bloat("known", 300 * MEGABYTE, 0.6), bloat("grown", 600 * MEGABYTE, 0.6),
            bloat("foreign", 120 * MEGABYTE, 0.5, owned=False),
        ],
        BloatLimits(100 * MEGABYTE, 0.5),
        {f"public.{name}": Memory(9.0, 10**9, {"index": True, "now": 5 * 10**8}) for name in ("known", "grown")},
        180000,
        {"app": (MAINTAIN, "needs a login")},
    )  # fmt: skip
    steps = list(plan(indexes))
    assert [(step.name, step.index.name) for step in steps] == [
        ("drop", "left_ccnew"), ("reindex", "mine"), ("reindex", "built"), ("reindex", "theirs"), ("reindex", "apart"),
        ("drop", "unwanted"), ("reindex", "grown"), ("reindex", "most"), ("reindex", "some"), ("reindex", "foreign"),
    ]  # fmt: skip
    by_name = {step.index.name: step for step in steps}
    assert by_name["mine"].statement() == 'REINDEX INDEX CONCURRENTLY "public"."mine"'
    assert by_name["mine"].why == "invalid, on public.t: no query uses it"
    assert by_name["most"].why == "200 MB of 250 MB wasted, 80%, by estimate"
    assert by_name["built"].why.endswith("; pid 7 holds a lock on its table and may be building it")
    assert by_name["unwanted"].why == "invalid, on public.t: left by a drop that was interrupted"
    assert by_name["theirs"].skip.reason.startswith("no privilege")
    assert by_name["theirs"].skip.reason.endswith("needs a login")
    owner = Login("owner")
    (rebuild,) = plan(Indexes([invalid_index("theirs", owned=False)], logins={"app": (owner, "")}))
    assert (rebuild.skip, rebuild.logins) == (None, (owner,))
    assert by_name["foreign"].skip.reason.startswith("no privilege")
    assert "exclusive lock" in by_name["apart"].skip.reason
    assert by_name["grown"].predicted_seconds == pytest.approx(1.2 * 9.0)
    assert all(step.alone for step in steps)
    old = Indexes([invalid_index("mine")], version=140003)
    assert "14.0 to 14.3" in next(iter(plan(old))).skip.reason
    assert [step.why[:12] for step in plan(Indexes(bloated=None))] == ["no privilege"]


def test_invalid_index_is_rebuilt_and_leftovers_are_dropped(any_house, run_reindex):
    """Including names to be quoted and TOAST indexes; a valid index named *_ccnew is kept."""
    database = any_house.database
    database.run(
        'CREATE SCHEMA "Ö"; CREATE TABLE "Ö"."t""; DROP" (a int, b text); INSERT INTO "Ö"."t""; DROP" VALUES (1, 1)'
    )
    long = "x" * 58 + " ü%s"
    database.run(
        f'CREATE INDEX "{long}" ON "Ö"."t""; DROP" (a); CREATE INDEX "mine_ccnew" ON "Ö"."t""; DROP" (b)'
    )
    cancel_concurrent_build(database, 'REINDEX TABLE CONCURRENTLY "Ö"."t""; DROP"')
    cancel_concurrent_build(
        database, 'CREATE INDEX CONCURRENTLY "inv""alid" ON "Ö"."t""; DROP" (a, b)'
    )
    assert len(invalid_indexes(database)) >= 4
    assert any("pg_toast" in name for name in invalid_indexes(database))
    done = run_reindex()
    assert {status for status, _ in done.values()} == {"done"}
    assert ("reindex", '"Ö"."inv""alid"') in done
    assert sum(name == "drop" for name, _ in done) == len(done) - 1
    assert invalid_indexes(database) == []
    names = {
        row["relname"]
        for row in database.rows("SELECT relname FROM pg_class WHERE relkind = 'i' AND oid > 16384")
    }
    assert {long, "mine_ccnew", 'inv"alid'} <= names
    assert not any("_ccnew" in name for name in names - {"mine_ccnew"})
    assert run_reindex() == {}


def test_unique_index_with_duplicate_keys_stays_invalid(any_house, run_reindex):
    create_slow_invalid_index(any_house.database, rows=5)
    any_house.database.run("INSERT INTO public.t VALUES (1)")
    (outcome,) = run_reindex().values()
    assert outcome == (
        "ineffective",
        'its keys are not unique: could not create unique index "slow_ccnew"',
    )
    assert invalid_indexes(any_house.database) == ["slow"]
    any_house.database.run("DELETE FROM public.t")
    assert list(run_reindex().values()) == [("done", "")]


def test_window_end_cancels_rebuild_and_leaves_no_leftover(any_house, run_reindex):
    create_slow_invalid_index(any_house.database)
    ((status, reason),) = run_reindex(window=open_window(1.5)).values()
    assert (status, reason) == ("unfinished", "the window ended")
    assert invalid_indexes(any_house.database) == ["slow"]
    ((status, _),) = run_reindex().values()
    assert (status, invalid_indexes(any_house.database)) == ("done", [])


def test_rebuild_is_cancelled_for_lock_waiter_and_repeated(any_house, run_reindex, wait):
    """ALTER TABLE waits; the cancelled build is dropped before the next attempt."""
    database = any_house.database
    create_slow_invalid_index(database)
    with concurrent_alter(database, wait) as wait_seconds:
        ((status, _),) = run_reindex().values()
    assert (status, invalid_indexes(database)) == ("done", [])
    assert wait_seconds[0] < 2.0


def test_rebuild_that_waits_for_snapshot_is_cancelled_for_lock_waiter(any_house, run_reindex, wait):
    database = any_house.database
    create_slow_invalid_index(database, rows=5)
    with database.connect() as old:
        old.execute(
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM pg_class LIMIT 1"
        )
        release = threading.Timer(8.0, old.rollback)
        release.start()
        with concurrent_alter(database, wait) as wait_seconds:
            run_reindex()
        release.cancel()
        release.join()
    assert wait_seconds[0] < 3.0
    assert invalid_indexes(database) in ([], ["slow"])
    assert [status for status, _ in run_reindex().values()] in ([], ["done"])


def test_index_build_of_another_session_is_skipped(any_house, run_reindex, wait):
    database = any_house.database
    database.run(SLOW)
    database.run("INSERT INTO public.t SELECT generate_series(1, 2000)")

    def build():
        with database.connect(autocommit=True) as other:
            other.execute("CREATE INDEX CONCURRENTLY theirs ON public.t (public.slow(a))")

    builder = threading.Thread(target=build)
    builder.start()
    wait(lambda: invalid_indexes(database))
    ((status, reason),) = run_reindex().values()
    assert status == "skipped"
    assert reason.endswith("has a lock on its table")
    builder.join()
    assert invalid_indexes(database) == []


def test_rebuild_is_skipped_while_old_snapshot_exists(any_house, run_reindex, monkeypatch):
    monkeypatch.setattr(rebuild_index, "LASTING_SECONDS", 0.0)
    create_slow_invalid_index(any_house.database, rows=5)
    with any_house.database.connect() as old:
        old.execute(
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM pg_class LIMIT 1"
        )
        ((status, reason),) = run_reindex().values()
        assert status == "skipped"
        assert reason.startswith(
            f"blocked: pid {old.info.backend_pid} (no name) has had a snapshot of the database for "
        )
    assert [status for status, _ in run_reindex().values()] == ["done"]


def test_invalid_unique_index_is_not_leftover_of_non_unique_index(any_house, run_reindex):
    """Its name and columns match the other index; a leftover of an interrupted drop is dropped."""
    database = any_house.database
    database.run(
        "CREATE TABLE public.t (a int); INSERT INTO public.t VALUES (1), (1); CREATE INDEX t_a ON public.t (a)"
    )
    with pytest.raises(psycopg.errors.UniqueViolation):
        database.run("CREATE UNIQUE INDEX CONCURRENTLY t_a_ccnew ON public.t (a)")
    database.run("CREATE INDEX gone ON public.t (a)")
    database.run("SET allow_system_table_mods = on")
    database.run(
        "UPDATE pg_index SET indislive = false, indisready = false, indisvalid = false"
        " WHERE indexrelid = 'public.gone'::regclass"
    )
    done = {name: status for name, (status, _) in run_reindex().items()}
    assert done == {("drop", "public.gone"): "done", ("reindex", "public.t_a_ccnew"): "ineffective"}
    assert invalid_indexes(database) == ["t_a_ccnew"]


def test_leftover_of_locked_table_is_named_and_dropped_by_next_run(any_house, run_reindex, wait):
    """Another session gets its lock when the build is cancelled for it, and keeps it."""
    database = any_house.database
    create_slow_invalid_index(database)
    done = threading.Event()

    def alter():
        wait(lambda: database.rows(BUILDING))
        with database.connect() as other:
            other.execute("LOCK TABLE public.t IN SHARE ROW EXCLUSIVE MODE")
            done.wait(20)

    other = threading.Thread(target=alter)
    other.start()
    ((status, reason),) = run_reindex().values()
    done.set()
    other.join()
    assert status == "skipped"
    assert reason.endswith("has a lock on its table; public.slow_ccnew has to be dropped first")
    assert list(run_reindex()) == [("drop", "public.slow_ccnew"), ("reindex", "public.slow")]
    assert invalid_indexes(database) == []


def test_lock_waiter_is_detected_by_login_without_pg_monitor(any_house, wait):
    """The login owns the table, but cannot see wait events of other roles."""
    database = any_house.database
    create_slow_invalid_index(database)
    database.run(
        f"CREATE ROLE {any_house.maintain} LOGIN; ALTER TABLE public.t OWNER TO {any_house.maintain}"
    )
    any_house.with_logins = False
    path = any_house.write()
    path.write_text(path.read_text().replace("user=postgres", f"user={any_house.maintain}"))
    any_house.write = lambda: path
    with concurrent_alter(database, wait) as wait_seconds:
        steps = any_house.run("vacuum")["steps"]
    assert [step["status"] for step in steps if step["name"] == "reindex"] == ["done"]
    assert wait_seconds[0] < 2.0


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGKILL])
def test_next_run_rebuilds_index_after_sigterm_or_sigkill(any_house, wait, signal_number):
    """SIGTERM drops the leftover at once; after SIGKILL the next run does."""
    database = any_house.database
    any_house.with_logins = False
    create_slow_invalid_index(database, rows=3000)
    with any_house.start("now", "vacuum") as process:
        wait(lambda: database.rows(BUILDING))
        process.send_signal(signal_number)
    wait(lambda: not database.rows(BUILDING))
    if signal_number is signal.SIGTERM:
        assert invalid_indexes(database) == ["slow"]
    else:
        assert invalid_indexes(database) == ["slow", "slow_ccnew"]
    database.run("DELETE FROM public.t WHERE a > 5")
    steps = [
        (step["name"], step["status"])
        for step in any_house.run("vacuum")["steps"]
        if step["name"] != "vacuum"
    ]
    assert steps[-1] == ("reindex", "done")
    assert invalid_indexes(database) == []
