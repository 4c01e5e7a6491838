"""Indexes: what is broken is mended, what is bloated only if it really is, and nothing invalid of ours stays behind."""

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

MEGABYTE = 10**6
BLOATED = "[jobs.vacuum.reindex]\nbloated = true\nwasted = '1 MB'\n"
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


@pytest.fixture
def mended(any_house):
    any_house.with_logins = False

    def run(**options):
        """Return what became of each index."""
        steps = any_house.run("vacuum", **options)["steps"]
        return {
            (step["name"], step["object"]): (step["status"], step["reason"])
            for step in steps
            if step["name"] in {"reindex", "drop"}
        }

    return run


def invalid(database):
    return [row["name"] for row in database.rows(INVALID)]


def broken_off(database, statement):
    """Run a concurrent build that is broken off while it waits for an old snapshot."""
    with database.connect() as old:
        old.execute(
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM pg_class LIMIT 1"
        )
        with database.connect(autocommit=True) as builder:
            builder.execute("SET statement_timeout = 500")
            with pytest.raises(psycopg.errors.QueryCanceled):
                builder.execute(statement)


def slow_invalid(database, rows=1500):
    """Make an invalid index that takes some seconds to rebuild."""
    database.run(SLOW)
    with pytest.raises(psycopg.errors.UniqueViolation):
        database.run("CREATE UNIQUE INDEX CONCURRENTLY slow ON public.t (public.slow(a))")
    database.run("DELETE FROM public.t")
    database.run(f"INSERT INTO public.t SELECT generate_series(1, {rows})")


@contextmanager
def altered(database, wait):
    """Somebody wants to alter the table while an index of it is built; the list says how long that took."""
    waited = []

    def alter():
        wait(lambda: database.rows(BUILDING))
        with database.connect(autocommit=True) as other:
            began = time.monotonic()
            other.execute("ALTER TABLE public.t SET (fillfactor = 90)")
            waited.append(time.monotonic() - began)

    other = threading.Thread(target=alter)
    other.start()
    yield waited
    other.join()


def test_the_plan_names_each_reason():
    def broken(name, **changes):
        usual = {
            "oid": 1,
            "bytes": 5,
            "exclusion": False,
            "leftover": False,
            "busy": None,
            "owned": True,
            "live": True,
        }
        return InvalidIndex(
            index=Relation("public", name), table=Relation("public", "t"), **(usual | changes)
        )

    def bloat(name, wasted, share, owned=True):  # noqa: FBT002
        size = int(wasted / share)
        return IndexBloat(
            1, Relation("public", name), Relation("public", "t"), size, size - wasted, owned
        )

    seen = Indexes(
        [
            broken("left_ccnew", leftover=True), broken("mine"), broken("built", busy=7), broken("theirs", owned=False),
            broken("apart", exclusion=True), broken("unwanted", live=False),
        ],
        [
            bloat("some", 150 * MEGABYTE, 0.6), bloat("most", 200 * MEGABYTE, 0.8), bloat("few", 90 * MEGABYTE, 0.9),
            bloat("slight", 900 * MEGABYTE, 0.4), bloat("known", 300 * MEGABYTE, 0.6), bloat("grown", 600 * MEGABYTE, 0.6),
            bloat("foreign", 120 * MEGABYTE, 0.5, owned=False),
        ],
        BloatLimits(100 * MEGABYTE, 0.5),
        {f"public.{name}": Memory(9.0, 10**9, {"index": True, "now": 5 * 10**8}) for name in ("known", "grown")},
        180000,
    )  # fmt: skip
    steps = list(plan(seen))
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
    assert by_name["foreign"].skip.reason.startswith("no privilege")
    assert "exclusive lock" in by_name["apart"].skip.reason
    assert by_name["grown"].predicted_seconds == pytest.approx(1.2 * 9.0)
    assert all(step.alone for step in steps)
    old = Indexes([broken("mine")], version=140003)
    assert "14.0 to 14.3" in next(iter(plan(old))).skip.reason
    assert [step.why[:12] for step in plan(Indexes(bloated=None))] == ["no privilege"]


def test_what_is_invalid_is_rebuilt_and_left_overs_dropped(any_house, mended):
    """Of whatever name, and of a TOAST table too; a valid index that is only named so is nobody's left-over."""
    database = any_house.database
    database.run(
        'CREATE SCHEMA "Ö"; CREATE TABLE "Ö"."t""; DROP" (a int, b text); INSERT INTO "Ö"."t""; DROP" VALUES (1, 1)'
    )
    long = "x" * 58 + " ü%s"
    database.run(
        f'CREATE INDEX "{long}" ON "Ö"."t""; DROP" (a); CREATE INDEX "mine_ccnew" ON "Ö"."t""; DROP" (b)'
    )
    broken_off(database, 'REINDEX TABLE CONCURRENTLY "Ö"."t""; DROP"')
    broken_off(database, 'CREATE INDEX CONCURRENTLY "inv""alid" ON "Ö"."t""; DROP" (a, b)')
    assert len(invalid(database)) >= 4
    assert any("pg_toast" in name for name in invalid(database))
    done = mended()
    assert {status for status, _ in done.values()} == {"done"}
    assert ("reindex", '"Ö"."inv""alid"') in done
    assert sum(name == "drop" for name, _ in done) == len(done) - 1
    assert invalid(database) == []
    names = {
        row["relname"]
        for row in database.rows("SELECT relname FROM pg_class WHERE relkind = 'i' AND oid > 16384")
    }
    assert {long, "mine_ccnew", 'inv"alid'} <= names
    assert not any("_ccnew" in name for name in names - {"mine_ccnew"})
    assert mended() == {}


def test_duplicates_keep_a_unique_index_invalid_and_are_told(any_house, mended):
    slow_invalid(any_house.database, rows=5)
    any_house.database.run("INSERT INTO public.t VALUES (1)")
    (told,) = mended().values()
    assert told == (
        "ineffective",
        'its keys are not unique: could not create unique index "slow_ccnew"',
    )
    assert invalid(any_house.database) == ["slow"]
    any_house.database.run("DELETE FROM public.t")
    assert list(mended().values()) == [("done", "")]


def test_the_end_of_the_window_leaves_nothing_behind(any_house, mended):
    slow_invalid(any_house.database)
    ((status, reason),) = mended(window=open_window(1.5)).values()
    assert (status, reason) == ("unfinished", "the window ended")
    assert invalid(any_house.database) == ["slow"]
    ((status, _),) = mended().values()
    assert (status, invalid(any_house.database)) == ("done", [])


def test_whoever_waits_behind_a_rebuild_does_not_wait_long(any_house, mended, wait):
    """It is cancelled for an ALTER TABLE, cleaned up, and begins again."""
    database = any_house.database
    slow_invalid(database)
    with altered(database, wait) as waited:
        ((status, _),) = mended().values()
    assert (status, invalid(database)) == ("done", [])
    assert waited[0] < 2.0


def test_nor_while_the_rebuild_waits_for_a_snapshot_of_a_third(any_house, mended, wait):
    database = any_house.database
    slow_invalid(database, rows=5)
    with database.connect() as old:
        old.execute(
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM pg_class LIMIT 1"
        )
        release = threading.Timer(8.0, old.rollback)
        release.start()
        with altered(database, wait) as waited:
            mended()
        release.cancel()
        release.join()
    assert waited[0] < 3.0
    assert invalid(database) in ([], ["slow"])
    assert [status for status, _ in mended().values()] in ([], ["done"])


def test_somebody_elses_build_is_left_alone(any_house, mended, wait):
    database = any_house.database
    database.run(SLOW)
    database.run("INSERT INTO public.t SELECT generate_series(1, 2000)")

    def build():
        with database.connect(autocommit=True) as other:
            other.execute("CREATE INDEX CONCURRENTLY theirs ON public.t (public.slow(a))")

    builder = threading.Thread(target=build)
    builder.start()
    wait(lambda: invalid(database))
    ((status, reason),) = mended().values()
    assert status == "skipped"
    assert reason.endswith("has a lock on its table")
    builder.join()
    assert invalid(database) == []


def test_a_snapshot_that_has_lasted_is_not_waited_for(any_house, mended, monkeypatch):
    monkeypatch.setattr(rebuild_index, "LASTING_SECONDS", 0.0)
    slow_invalid(any_house.database, rows=5)
    with any_house.database.connect() as old:
        old.execute(
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM pg_class LIMIT 1"
        )
        ((status, reason),) = mended().values()
        assert status == "skipped"
        assert reason.startswith(
            f"blocked: pid {old.info.backend_pid} (no name) has looked at the database for "
        )
    assert [status for status, _ in mended().values()] == ["done"]


def test_a_unique_one_is_no_left_over_of_one_that_is_not(any_house, mended):
    """Named like it, and of the same columns; what a broken drop has left is dropped, not raised from the dead."""
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
    done = {name: status for name, (status, _) in mended().items()}
    assert done == {("drop", "public.gone"): "done", ("reindex", "public.t_a_ccnew"): "ineffective"}
    assert invalid(database) == ["t_a_ccnew"]


def test_what_somebody_keeps_us_from_dropping_is_named_and_dropped_the_next_time(
    any_house, mended, wait
):
    """He waits behind the build, gets his lock when it makes way, and keeps it."""
    database = any_house.database
    slow_invalid(database)
    done = threading.Event()

    def alter():
        wait(lambda: database.rows(BUILDING))
        with database.connect() as other:
            other.execute("LOCK TABLE public.t IN SHARE ROW EXCLUSIVE MODE")
            done.wait(20)

    other = threading.Thread(target=alter)
    other.start()
    ((status, reason),) = mended().values()
    done.set()
    other.join()
    assert status == "skipped"
    assert reason.endswith("has a lock on its table; public.slow_ccnew has to be dropped first")
    assert list(mended()) == [("drop", "public.slow_ccnew"), ("reindex", "public.slow")]
    assert invalid(database) == []


def test_whoever_waits_is_seen_by_a_login_that_sees_little(any_house, wait):
    """An owner without pg_monitor, who sees nobody's wait events."""
    database = any_house.database
    slow_invalid(database)
    database.run(
        f"CREATE ROLE {any_house.maintain} LOGIN; ALTER TABLE public.t OWNER TO {any_house.maintain}"
    )
    any_house.with_logins = False
    path = any_house.write()
    path.write_text(path.read_text().replace("user=postgres", f"user={any_house.maintain}"))
    any_house.write = lambda: path
    with altered(database, wait) as waited:
        steps = any_house.run("vacuum")["steps"]
    assert [step["status"] for step in steps if step["name"] == "reindex"] == ["done"]
    assert waited[0] < 2.0


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_stopped_or_killed_in_the_middle(any_house, wait, how):
    """SIGTERM cleans up at once; after SIGKILL the next run does, when the server has noticed."""
    database = any_house.database
    any_house.with_logins = False
    slow_invalid(database, rows=3000)
    with any_house.start("now", "vacuum") as process:
        wait(lambda: database.rows(BUILDING))
        process.send_signal(how)
    wait(lambda: not database.rows(BUILDING))
    if how is signal.SIGTERM:
        assert invalid(database) == ["slow"]
    else:
        assert invalid(database) == ["slow", "slow_ccnew"]
    database.run("DELETE FROM public.t WHERE a > 5")
    steps = [
        (step["name"], step["status"])
        for step in any_house.run("vacuum")["steps"]
        if step["name"] != "vacuum"
    ]
    assert steps[-1] == ("reindex", "done")
    assert invalid(database) == []


def bloated(database, flush):
    database.run("CREATE TABLE public.big (a int, b text)")
    database.run("INSERT INTO public.big SELECT n, md5(n::text) FROM generate_series(1, 100000) n")
    flush()
    database.run("CREATE INDEX big_b ON public.big (b); ANALYZE public.big")


def size(database):
    return database.value("SELECT pg_relation_size('public.big_b') AS n")


@pytest.mark.parametrize("extension", [True, False])
def test_a_bloated_index_is_rebuilt_where_that_is_wished(any_house, mended, flush, extension):
    database = any_house.database
    bloated(database, flush)
    if extension:
        database.run('CREATE SCHEMA "Ext 1"; CREATE EXTENSION pgstattuple SCHEMA "Ext 1"')
    database.run("DELETE FROM public.big WHERE a % 10 < 8")
    flush()
    before = size(database)
    assert mended() == {}  # off by default
    any_house.extra = BLOATED
    assert mended() == {("reindex", "public.big_b"): ("done", "")}
    assert size(database) < before / 3
    assert mended() == {}


def test_one_that_is_not_bloated_after_all_is_not_built_and_not_looked_at_again(
    any_house, mended, flush
):
    """Its rows were never counted again: the estimate is of another time."""
    database = any_house.database
    bloated(database, flush)
    database.run("CREATE EXTENSION pgstattuple")
    database.run(
        "SET allow_system_table_mods = on; UPDATE pg_class SET reltuples = 1000 WHERE relname = 'big_b'"
    )
    flush()
    any_house.extra = BLOATED
    before = database.value("SELECT 'public.big_b'::regclass::oid AS n")
    ((status, reason),) = mended().values()
    assert status == "done"
    assert reason.startswith("not bloated: ")
    assert reason.endswith("of it wasted, measured")
    assert database.value("SELECT 'public.big_b'::regclass::oid AS n") == before
    assert mended() == {}


def test_without_room_for_a_second_one_nothing_is_begun(any_house, mended, flush, monkeypatch):
    database = any_house.database
    bloated(database, flush)
    database.run("DELETE FROM public.big WHERE a % 10 < 8")
    flush()
    any_house.extra = BLOATED
    monkeypatch.setattr(rebuild_index, "ROOM", 1e12)
    ((status, reason),) = mended().values()
    assert status == "skipped"
    assert reason.startswith("no room: ")
