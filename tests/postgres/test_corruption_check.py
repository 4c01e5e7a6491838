"""The job `corruption_check` on damaged files: what it finds, its rotation, and how it gives way."""

import re
import subprocess
import threading
import time
from datetime import timedelta

import pytest

from checks.corruption import Blocks, damage, read_amcheck, read_provable, verification
from daemon.demo.cluster import Cluster, embedded_binaries
from postgres.session import MAINTAIN, Target, open_session
from tests.fixtures.servers import Database

TABLE = """
    CREATE TABLE public.t (a int, b text);
    INSERT INTO public.t SELECT g, md5(g::text) FROM generate_series(1, 5000) g;
    CREATE UNIQUE INDEX t_a ON public.t (a);
    CREATE TABLE public.u (b text);
    CREATE INDEX u_b ON public.u (b);
    VACUUM ANALYZE;
    CHECKPOINT
"""


@pytest.fixture
def make_server(scratch, tmp_path):
    made = []

    def make(*, checksums):
        folder = scratch / f"damaged-{tmp_path.name}"
        folder.mkdir(mode=0o755)
        cluster = Cluster(folder, embedded_binaries(), {"autovacuum": "off"}).create()
        made.append(cluster)
        if not checksums:
            command = [cluster.program("pg_checksums"), "--disable", "-D", str(cluster.data)]
            subprocess.run(command, check=True, capture_output=True, user=cluster.run_as())
        return cluster.start()

    yield make
    for cluster in made:
        cluster.stop("immediate")


def path_of(database, relation):
    value = database.value("SELECT pg_relation_filepath(%s::regclass)", relation)
    return database.cluster.data / value


def overwrite(path, block, offset, change):
    """Change four bytes of a page; `change` gets and returns them."""
    with path.open("r+b") as file:
        file.seek(8192 * block + offset)
        old = file.read(4)
        file.seek(8192 * block + offset)
        file.write(change(old))


def item_offset(path, block, item):
    """Return the offset of a tuple within its page, from its line pointer."""
    with path.open("rb") as file:
        file.seek(8192 * block + 24 + 4 * (item - 1))
        return int.from_bytes(file.read(4), "little") & 0x7FFF


def swap_two_items(path, block, item):
    """Swap two neighbouring line pointers of a B-tree page: its order is broken."""
    with path.open("r+b") as file:
        file.seek(8192 * block + 24 + 4 * (item - 1))
        pair = file.read(8)
        file.seek(8192 * block + 24 + 4 * (item - 1))
        file.write(pair[4:] + pair[:4])


def with_tables(make_house, folder, cluster):
    """Return a house on a server with the tables, after install."""
    database = Database(cluster, "postgres")
    for statement in TABLE.split(";"):
        database.run(statement)
    house = make_house(folder, database)
    house.install()
    return house


def found(run):
    return {(one["kind"], one["object"]): one for one in run["findings"]}


def run_all(house):
    """Verify everything, whatever was proven before."""
    house.extra = '[jobs.corruption_check]\nevery = "1ms"\n'
    return house.run("corruption_check")


def damage_files(database):
    """Break the order of t_a, a row's header in block 3 of t, and leave a row out of u_b."""
    database.run(
        "UPDATE pg_index SET indisready = false WHERE indexrelid = 'public.u_b'::regclass;"
        "INSERT INTO public.u VALUES ('not in u_b');"
        "UPDATE pg_index SET indisready = true WHERE indexrelid = 'public.u_b'::regclass;"
        "CHECKPOINT"
    )
    table, index = path_of(database, "public.t"), path_of(database, "public.t_a")
    database.admin.close()
    database.cluster.stop()
    swap_two_items(index, 1, 50)
    header = item_offset(table, 3, 7) + 20
    overwrite(table, 3, header, lambda old: old[:2] + b"\x13" + old[3:])
    database.cluster.start()


def test_damaged_table_and_indexes_are_found_with_their_places(make_server, make_house, tmp_path):
    cluster = make_server(checksums=False)
    house = with_tables(make_house, tmp_path, cluster)
    database = house.database
    database.run("SET allow_system_table_mods = on")
    assert found(house.run("corruption_check")) == {}
    damage_files(database)
    house.database = database = Database(cluster, "postgres")
    ran = found(run_all(house))
    assert set(ran) == {
        ("heap_corruption", "public.t"),
        ("btree_corruption", "public.t_a"),
        ("btree_corruption", "public.u_b"),
    }
    assert {one["severity"] for one in ran.values()} == {"critical"}
    assert "block 3 item 7: " in ran["heap_corruption", "public.t"]["summary"]
    assert "item order invariant violated" in ran["btree_corruption", "public.t_a"]["summary"]
    assert "tid=(1,5" in ran["btree_corruption", "public.t_a"]["summary"]
    missing = ran["btree_corruption", "public.u_b"]["summary"]
    assert "lacks matching index tuple" in missing
    for index in ("public.t_a", "public.u_b"):
        remedy = ran["btree_corruption", index]["remedy"]
        database.run(remedy.partition(";")[0])
    house.extra = ""
    again = house.run("corruption_check")
    assert set(found(again)) == {("heap_corruption", "public.t")}  # needs a backup
    assert {step["object"] for step in again["steps"]} >= {"public.t", "public.t_a", "public.u_b"}
    database.admin.close()


def test_page_with_a_wrong_checksum_is_damage(make_server, make_house, tmp_path):
    house = with_tables(make_house, tmp_path, make_server(checksums=True))
    database = house.database
    table = path_of(database, "public.t")
    database.admin.close()
    database.cluster.stop()
    overwrite(table, 3, 4000, lambda _: b"\xff" * 4)
    database.cluster.start()
    ran = found(house.run("corruption_check"))
    assert "invalid page in block 3" in ran["heap_corruption", "public.t"]["summary"]


def test_table_whose_file_is_missing_is_damaged_and_a_missing_library_is_no_damage(
    make_server, make_house, tmp_path
):
    house = with_tables(make_house, tmp_path, make_server(checksums=True))
    database = house.database
    table = path_of(database, "public.t")
    database.admin.close()
    database.cluster.stop()
    table.unlink()
    database.cluster.start()
    ran = found(house.run("corruption_check"))
    assert set(ran) == {("heap_corruption", "public.t"), ("task_failed", "")}  # its index
    assert "could not open file" in ran["heap_corruption", "public.t"]["summary"]
    database = Database(database.cluster, "postgres")
    database.run(
        "ALTER EXTENSION amcheck DROP FUNCTION sereno.verify_heapam(regclass, boolean, boolean, text, bigint, bigint);"
        "DROP FUNCTION sereno.verify_heapam;"
        "CREATE FUNCTION sereno.verify_heapam(regclass, boolean, boolean, text, bigint, bigint, "
        "OUT blkno bigint, OUT offnum int, OUT attnum int, OUT msg text) RETURNS SETOF record AS $$ "
        "BEGIN RAISE 'could not access file \"$libdir/amcheck\"' USING ERRCODE = '58P01'; END "
        "$$ LANGUAGE plpgsql;"
        "ALTER EXTENSION amcheck ADD FUNCTION sereno.verify_heapam(regclass, boolean, boolean, text, bigint, bigint)"
    )
    run = run_all(house)
    assert set(found(run)) == {("task_failed", "")}
    assert {step["status"] for step in run["steps"] if step["object"] == "public.t"} == {"failed"}
    database.admin.close()


@pytest.mark.parametrize(("blocks", "rows"), [(Blocks(0, 9**6), 0), (Blocks(9**5, None), 0)])
def test_range_of_a_table_that_shrank_since_the_plan_is_verified_to_its_end(house, blocks, rows):
    house.database.run("CREATE TABLE public.t (a int); INSERT INTO public.t VALUES (1)")
    house.install()
    with open_session(Target("main", house.database.dsn), MAINTAIN, "test") as session:
        amcheck = read_amcheck(session)
        (table,) = (
            one for one in read_provable(session, amcheck.kinds) if str(one.relation) == "public.t"
        )
        question = verification(table, amcheck, blocks, all_rows=True)
        assert len(damage(session, question, table, "public.t")) == rows


def test_only_what_is_due_is_verified_and_a_rewritten_index_is_due(any_house):
    for statement in TABLE.split(";"):
        any_house.database.run(statement)
    any_house.install()
    first = {step["object"] for step in any_house.run("corruption_check")["steps"]}
    assert {"public.t", "public.t_a", "public.u_b", "pg_catalog.pg_class"} <= first
    any_house.database.run("REINDEX INDEX public.u_b")
    second = {step["object"] for step in any_house.run("corruption_check")["steps"]}
    assert second == {"public.u_b", "proofs"}
    any_house.run("health_report")
    page = next((any_house.folder / "reports").iterdir()).read_text()
    verified = re.search(r"([\d,]+) of ([\d,]+) indexes and tables<.*?>(\d+)%<.*?>1 day<", page)
    assert verified is not None
    assert (verified[1], verified[3]) == (verified[2], "100"), "the proof of this night counts"


def test_proofs_that_are_not_renewed_for_14_days_are_a_finding(house):
    house.install()
    context = house.context()
    house.run("corruption_check", context=context)
    later = context.clock() + timedelta(days=20)
    house.extra = '[jobs.corruption_check]\nevery = "60 days"\n'
    context = house.context()
    object.__setattr__(context, "clock", lambda: later)
    (finding,) = house.run("corruption_check", context=context)["findings"]
    assert (finding["kind"], finding["severity"]) == ("proofs_overdue", "warning")
    assert "for 20 days" in finding["summary"]


def test_missing_extension_is_skipped_with_its_cure(house):
    house.with_logins = False
    (step, _) = house.run("corruption_check")["steps"]
    assert step["status"] == "skipped"
    assert "amcheck is not installed; sereno install creates it" in step["reason"]


def test_missing_right_is_skipped_with_its_cure(house):
    house.install()
    house.database.run(
        f'REVOKE EXECUTE ON FUNCTION sereno.bt_index_check(regclass, boolean) FROM "{house.maintain}"'
    )
    steps = house.run("corruption_check")["steps"]
    assert [step["reason"] for step in steps if step["status"] == "skipped"] == [
        f"{house.maintain} may not execute the functions of amcheck; sereno install grants it"
    ]


def test_verification_gives_way_to_a_waiting_lock(house):
    """ALTER TABLE, and the SELECT behind it, wait for less than a second and a half."""
    database = house.database
    slow = (
        "CREATE OR REPLACE FUNCTION public.slow(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS "
        "$$ BEGIN {} RETURN $1; END $$"
    )
    database.run(slow.format(""))
    database.run(
        "CREATE TABLE public.t (a int); INSERT INTO public.t SELECT generate_series(1, 999)"
    )
    database.run("CREATE INDEX t_slow ON public.t (public.slow(a)); ANALYZE public.t")
    database.run(slow.format("PERFORM pg_sleep(0.01);"))
    house.install()
    runs = []
    worker = threading.Thread(target=lambda: runs.append(house.run("corruption_check")))
    worker.start()
    running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%%bt_index_check%%' AND state = 'active' AND wait_event = 'PgSleep'"  # fmt: skip
    ends = time.monotonic() + 60
    while not database.value(running) and time.monotonic() < ends:
        time.sleep(0.05)
    began = time.monotonic()
    database.run("ALTER TABLE public.t ADD COLUMN b int")
    waited = time.monotonic() - began
    database.run(slow.format(""))
    worker.join(60)
    assert waited < 1.5
    steps = {step["object"]: step["status"] for step in runs[0]["steps"]}
    assert (steps["public.t"], steps["public.t_slow"]) == ("done", "done")
