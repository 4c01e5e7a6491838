"""VACUUM by each table's own trigger; what it could not do is named; many small tables in one command."""

import subprocess
import threading
import time

import pytest

from domain.memory import Memory
from execution.progress import NoProgress
from jobs.analyze import Options as AnalyzeOptions
from jobs.steps.vacuum_group import VacuumGroup
from jobs.table_statistics import TableRule, TableStatistics
from jobs.vacuum import GROUP_TABLES, SMALL_BYTES, Observation, plan
from postgres.catalog.xmin_horizon import HorizonHolder

BIG = 100 * 1024**2


def test_the_plan_is_wraparound_first_then_by_dead_bytes_then_the_small_together(table):
    seen = [
        table("fresh", dead=100, inserted=1000, modified=60),
        table("small1", dead=101),
        table("small2", dead=500),
        table("both", dead=101, modified=61),
        table("large", dead=101, bytes=BIG, dead_bytes=5),
        table("larger", dead=101, bytes=BIG, dead_bytes=9),
        table("old", age=160_000_000, bytes=BIG),
        table("older", members=190_000_000, bytes=BIG),
        table("toast", toast_dead=51, bytes=BIG, dead_bytes=1),
        table("full", inserted=1001, bytes=BIG),
        table("never", inserted=10**9, inserted_threshold=None),
        table("theirs", dead=999, allowed=False, bytes=BIG),
        table("pg_class", dead=999, system=True, allowed=False),
    ]
    steps = plan(Observation(TableStatistics(seen, {"public.large": Memory(7.0, 0)}, 160000)))
    assert [step.object for step in steps] == [
        "public.older", "public.old", "public.larger", "public.large", "public.toast", "public.full", "public.theirs",
        "public.both", "public.small1 and 1 more", "database statistics",
    ]  # fmt: skip
    by_name = {step.object: step for step in steps}
    assert (
        by_name["public.older"].statement()
        == 'VACUUM (SKIP_DATABASE_STATS, FREEZE) "public"."older"'
    )
    assert (
        by_name["public.both"].statement()
        == 'VACUUM (SKIP_DATABASE_STATS, ANALYZE) "public"."both"'
    )
    assert by_name["public.small1 and 1 more"].statement() == (
        'VACUUM (SKIP_LOCKED, SKIP_DATABASE_STATS) "public"."small1", "public"."small2"'
    )
    assert by_name["public.large"].predicted_seconds == pytest.approx(8.4)
    assert by_name["public.theirs"].why.startswith("dead rows: 999, threshold 100; no privilege")
    assert [step.alone for step in steps][-2:] == [False, True]


def test_the_analyze_that_comes_along_obeys_the_rules_of_the_job_analyze(table):
    seen = TableStatistics([table("t", dead=101, modified=61)], {}, 150000)

    def verb(**options):
        (step,) = plan(Observation(seen, analysis=AnalyzeOptions(**options)))
        return step.statement()

    assert verb() == 'VACUUM (ANALYZE) "public"."t"'
    assert verb(exclude=("public.t",)) == 'VACUUM "public"."t"'
    assert verb(tables=({"table": "public.t", "threshold": 62},)) == 'VACUUM "public"."t"'
    assert verb(tables=({"table": "public.t", "threshold": 60},)) == 'VACUUM (ANALYZE) "public"."t"'


def test_before_16_a_vacuum_has_no_options_it_does_not_know(table):
    steps = plan(Observation(TableStatistics([table("t", dead=101)], {}, 150000)))
    assert [step.statement() for step in steps] == ['VACUUM "public"."t"']


def test_groups_have_a_size(table):
    def sizes(seen, version):
        steps = plan(Observation(TableStatistics(seen, {}, version)))
        return [len(step.members) if isinstance(step, VacuumGroup) else 1 for step in steps]

    many = [table(f"t{number}", dead=101) for number in range(2 * GROUP_TABLES + 1)]
    assert sizes(many, 180000) == [GROUP_TABLES, GROUP_TABLES, 1, 1]
    assert sizes(many, 150000) == [2 * GROUP_TABLES + 1]
    larger = [table(f"t{number}", dead=101, bytes=SMALL_BYTES - 1) for number in range(20)]
    assert sizes(larger, 150000) == [8, 8, 4]


def dirty(database, name, rows=1000, options=""):
    database.run(f"CREATE TABLE public.{name} (a int) WITH (autovacuum_enabled = off{options})")
    database.run(f"INSERT INTO public.{name} SELECT generate_series(1, {rows})")
    database.run(f"DELETE FROM public.{name} WHERE a % 2 = 0")


def test_each_by_its_own_trigger_and_the_second_time_nothing(any_house, flush):
    any_house.with_logins = False
    run = any_house.database.run
    dirty(any_house.database, "usual")
    dirty(any_house.database, "lazy", options=", autovacuum_vacuum_threshold = 2000")
    dirty(any_house.database, "inserted", rows=2)
    run("INSERT INTO public.inserted SELECT generate_series(1, 3000)")
    dirty(any_house.database, "still", rows=80)
    for number in range(5):
        dirty(any_house.database, f'"we""ird {number} %s ñ"')
    flush()
    run("ANALYZE public.usual, public.inserted, public.lazy")
    flush()
    done = any_house.run("vacuum")
    assert done["state"] == "finished"
    ours = [step for step in done["steps"] if step["object"].startswith("public.")]
    assert sorted(step["object"] for step in ours) == sorted(
        [
            "public.usual",
            "public.inserted",
            *(f'public."we""ird {number} %s ñ"' for number in range(5)),
        ]
    )
    assert {step["status"] for step in ours} == {"done"}
    left = any_house.database.rows(
        "SELECT relname, n_dead_tup, last_analyze IS NOT NULL AS analyzed FROM pg_stat_user_tables ORDER BY 1"
    )
    assert {row["relname"]: row["n_dead_tup"] for row in left if row["n_dead_tup"]} == {
        "lazy": 500,
        "still": 40,
    }
    assert all(row["analyzed"] for row in left if row["relname"].startswith("we"))
    again = any_house.run("vacuum")
    assert [step["object"] for step in again["steps"] if step["object"].startswith("public.")] == []


def test_rows_that_an_open_transaction_still_sees_are_not_called_vacuumed(any_house, flush):
    any_house.with_logins = False
    database = any_house.database
    dirty(database, "t", rows=1)
    with database.connect() as other:
        other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT count(*) FROM public.t")
        database.run("INSERT INTO public.t SELECT generate_series(1, 1000)")
        database.run("DELETE FROM public.t")
        flush()
        done = any_house.run("vacuum")
        (step,) = [step for step in done["steps"] if step["object"] == "public.t"]
        assert step["status"] == "ineffective"
        pid = other.info.backend_pid
        assert (
            f"dead rows remaining: 1001; held back by pid {pid} (postgres, no name), idle in transaction for"
            in (step["reason"])
        )
        (finding,) = [row for row in done["findings"] if row["kind"] == "ineffective"]
        assert (finding["object"], f"pid {pid} " in finding["summary"], finding["severity"]) == (
            "public.t", True, "warning",
        )  # fmt: skip
    done = any_house.run("vacuum")
    assert [step["status"] for step in done["steps"] if step["object"] == "public.t"] == ["done"]
    with any_house.context().store.reading() as transaction:
        alerts = transaction.rows("SELECT kind, state FROM alert")
    assert alerts == [{"kind": "ineffective", "state": "resolved"}]


def test_what_stays_of_many_is_named_with_who_holds_it(any_house, flush):
    any_house.with_logins = False
    database = any_house.database
    dirty(database, "t", rows=4000)
    database.run("DELETE FROM public.t")
    with database.connect() as other:
        other.execute(
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM public.t"
        )
        database.run("INSERT INTO public.t SELECT generate_series(1, 1000)")
        database.run("DELETE FROM public.t")
        flush()
        (step,) = [
            step for step in any_house.run("vacuum")["steps"] if step["object"] == "public.t"
        ]
        assert step["status"] == "done"
        assert "dead rows remaining: " in step["reason"]
        assert f"; held back by pid {other.info.backend_pid}" in step["reason"]


def spanish(scratch):
    """A Spanish locale of the test's own, for servers that speak it; none where this machine cannot make one."""
    folder = scratch / "locale"
    if not folder.exists():
        folder.mkdir(mode=0o755)
        made = [
            "localedef",
            "--no-archive",
            "-i",
            "es_ES",
            "-f",
            "UTF-8",
            str(folder / "es_ES.UTF-8"),
        ]
        try:
            subprocess.run(made, capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"localedef makes no es_ES.UTF-8 here: {error}")
    return folder


@pytest.mark.parametrize("language", ["C", "es_ES.UTF-8"])
def test_a_table_without_the_right_is_skipped_in_every_language(
    any_server,
    language,
    scratch,
    make_database,
    make_house,
    tmp_path,
    clusters,
    monkeypatch,
    request,
):
    server = any_server
    if language != "C":
        monkeypatch.setenv("LOCPATH", str(spanish(scratch)))
        server = clusters(request.node.callspec.params["any_server"], lc_messages=language)
    with make_database(server) as database:
        if language != "C" and server.program("postgres").startswith(
            "/usr/lib/postgresql"
        ):  # the others speak English
            with pytest.raises(Exception, match="división"):
                database.run("SELECT 1 / 0")
        house = make_house(tmp_path, database)
        role = f"nobody_{house.maintain}"
        database.run(f"CREATE ROLE {role} LOGIN")
        database.run(f"GRANT pg_read_all_data, pg_monitor TO {role}")
        for number in range(3):
            dirty(database, f"t{number}")
        database.run("SELECT pg_sleep(1)")
        house.maintain = role
        done = house.run("vacuum")
        assert [(step["status"], step["reason"][:12]) for step in done["steps"]] == [
            ("skipped", "no privilege")
        ] * 3
        assert [(row["kind"], row["severity"]) for row in done["findings"]] == [
            ("task_skipped", "info")
        ]


def test_a_vacuum_that_only_warned_is_ineffective(house):
    from psycopg import sql

    from execution.control import RunLimits, StepControl
    from execution.governor import Limits, Sample
    from execution.step import Status
    from execution.window import open_window
    from jobs.steps.postconditions import VacuumDue, Vacuumed
    from jobs.steps.statement import Statement
    from postgres.session import Credentials, Target, open_session

    role = f"nobody_{house.maintain}"
    house.database.run(f"CREATE ROLE {role} LOGIN")
    dirty(house.database, "t")
    oid = house.database.value("SELECT 'public.t'::regclass::oid::int8")
    worked = Vacuumed((VacuumDue(oid, 50, 50, 1e9, 1e9),))
    step = Statement(
        name="vacuum",
        object="public.t",
        command=sql.SQL("VACUUM public.t").format(),
        postcondition=worked,
    )
    pace = StepControl(
        RunLimits(open_window(None), threading.Event(), Sample, Limits(), NoProgress()), 60
    )
    with open_session(
        Target("main", house.database.dsn, {"maintain": Credentials(role)}), "maintain", "vacuum"
    ) as opened:
        outcome = step.apply(opened, pace)
    assert (outcome.status, "counts no new VACUUM" in outcome.reason) == (Status.INEFFECTIVE, True)


@pytest.mark.usefixtures("few_attempts")
def test_a_locked_table_of_a_group_is_tried_on_its_own_and_its_holder_named(house, flush_now):
    house.with_logins = False
    for number in range(4):
        dirty(house.database, f"t{number}")
    flush_now()
    with house.database.connect() as other:
        other.execute("LOCK TABLE public.t2 IN SHARE MODE")
        done = house.run("vacuum")
        steps = {step["object"]: step for step in done["steps"]}
        assert [steps[f"public.t{number}"]["status"] for number in (0, 1, 3)] == ["done"] * 3
        assert steps["public.t2"]["status"] == "skipped"
        assert f"blocked by pid {other.info.backend_pid}" in steps["public.t2"]["reason"]


@pytest.mark.usefixtures("few_attempts")
def test_what_is_locked_has_a_second_turn_when_all_else_is_done(house, flush_now):
    """The lock is let go when the first turn is over: at the latest then a DDL of a minute should have ended."""
    house.with_logins, house.extra = False, "[jobs.vacuum]\nparallel = 1\n"
    for name, rows in (("locked", 2000), ("free", 1000)):
        dirty(house.database, name, rows=rows)
    flush_now()
    turns = []
    with house.database.connect() as other:
        other.execute("LOCK TABLE public.locked IN ACCESS EXCLUSIVE MODE")

        class LetsGo(NoProgress):
            def end(self, number, status, reason):
                turns.append((number, status))
                other.rollback()

        done = house.run("vacuum", progress=LetsGo())
    steps = {step["object"]: step for step in done["steps"]}
    asked = (
        "public.free",
        "public.locked",
        "database statistics",
    )  # beside them a shared catalog that others dirty
    assert (done["state"], [steps[name]["status"] for name in asked]) == ("finished", ["done"] * 3)
    locked, last = (steps[name]["ordinal"] + 1 for name in asked[1:])
    assert turns[-2:] == [(last, "done"), (locked, "done")]


@pytest.fixture
def flush_now(house):
    return lambda: house.database.run("SELECT pg_stat_force_next_flush()")


def slowly(database, limit=10):
    """From the next session on, about a hundred times `limit` pages a second."""
    for name, value in {
        "delay": 10,
        "limit": limit,
        "page_hit": 1,
        "page_miss": 1,
        "page_dirty": 0,
    }.items():
        database.run(f'ALTER DATABASE "{database.name}" SET vacuum_cost_{name} = {value}')


def quickly(database):
    database.run(f'ALTER DATABASE "{database.name}" RESET ALL')


def test_two_work_side_by_side_and_the_database_statistics_come_last(house, flush_now, wait):
    house.with_logins = False
    for number in range(2):
        dirty(house.database, f"t{number}", rows=400_000)
    flush_now()
    slowly(house.database)
    seen = set()
    stop = threading.Event()

    def look():
        with house.database.connect(autocommit=True) as other:
            while not stop.is_set():
                rows = other.execute(
                    "SELECT pid, relid::regclass::text AS name FROM pg_stat_progress_vacuum WHERE datname = current_database()"
                ).fetchall()
                seen.add(frozenset((row["pid"], row["name"]) for row in rows))
                time.sleep(0.01)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        done = house.run("vacuum")
    finally:
        stop.set()
        watcher.join()
    assert [step["object"] for step in done["steps"] if step["object"].startswith("public")] != []
    assert done["steps"][-1]["object"] == "database statistics"
    both = [found for found in seen if {name for _, name in found} == {"t0", "t1"}]
    assert both, seen
    assert all(len({pid for pid, _ in found}) == 2 for found in both)


def test_progress_is_the_servers_own_count(house, flush_now):

    house.with_logins = False
    dirty(house.database, "t", rows=300_000)
    flush_now()
    slowly(house.database)

    class Seen(NoProgress):
        def __init__(self):
            self.done = []

        def advance(self, number, done):
            self.done.append(done)

    seen = Seen()
    house.run("vacuum", progress=seen)
    counts = [done.count for done in seen.done if done.unit == "blocks, scanning heap"]
    assert len(counts) >= 2
    assert counts == sorted(counts)
    assert 0 < seen.done[-1].count <= seen.done[-1].total


def test_a_window_ends_it_and_the_next_run_goes_on(house, flush_now):
    from execution.window import open_window

    house.with_logins = False
    for number in range(8):
        dirty(house.database, f"t{number}", rows=300_000)
    flush_now()
    house.extra = "[jobs.vacuum]\nparallel = 1\n"
    slowly(house.database, 40)
    first = house.run("vacuum", window=open_window(2.5))
    assert first["state"] == "window_ended"
    statuses = [step["status"] for step in first["steps"]]
    assert statuses.count("done") >= 1
    assert first["steps_left"] == statuses.count("unfinished") >= 1
    quickly(house.database)
    second = house.run("vacuum")
    did = {step["object"] for step in first["steps"] if step["status"] == "done"}
    assert second["state"] == "finished"
    assert not did & {step["object"] for step in second["steps"]}


def test_a_table_near_its_age_limit_is_frozen_first(house, flush_now):
    house.with_logins, house.extra = False, "[jobs.vacuum]\nparallel = 1\n"
    run = house.database.run
    dirty(house.database, "dead")
    run("CREATE TABLE public.old (a int) WITH (autovacuum_freeze_max_age = 100000)")
    run("INSERT INTO public.old VALUES (1)")
    run(
        "CREATE PROCEDURE public.burn() LANGUAGE plpgsql AS $$ BEGIN FOR n IN 1..95100 LOOP PERFORM txid_current(); COMMIT; END LOOP; END $$"
    )
    run("CALL public.burn()")
    flush_now()
    done = house.run("vacuum")
    ours = [step for step in done["steps"] if step["object"].startswith("public.")]
    assert (ours[0]["object"], ours[0]["status"]) == ("public.old", "done")
    assert (
        house.database.value("SELECT age(relfrozenxid) FROM pg_class WHERE relname = 'old'") < 1000
    )


def test_a_group_that_is_not_begun_is_left_table_by_table(house, flush_now):
    from execution.window import open_window

    house.with_logins = False
    for number in range(3):
        dirty(house.database, f"t{number}")
    flush_now()
    done = house.run("vacuum", window=open_window(0.001))
    left = [step["object"] for step in done["steps"] if step["status"] == "unfinished"]
    assert {"public.t0", "public.t1", "public.t2", "database statistics"} <= set(left)
    assert (done["state"], done["steps_left"]) == ("window_ended", len(left))


def test_many_small_steps_are_written_down_by_the_handful(house, flush_now):
    house.with_logins = False
    for number in range(250):
        dirty(house.database, f"t{number}", rows=120)
    flush_now()
    steps = house.run("vacuum")["steps"]
    assert len([step for step in steps if step["object"].startswith("public.")]) == 250
    moments = sorted({step["finished_at"] for step in steps})
    assert len(moments) <= 2 + sum(step["seconds"] for step in steps), (
        "more than one transaction a second"
    )
    assert [step["ordinal"] for step in steps] == list(range(len(steps)))


@pytest.mark.usefixtures("few_attempts")
def test_a_locked_table_keeps_no_other_from_being_seen(any_house, flush):
    any_house.with_logins = False
    for name in ("locked", "other"):
        dirty(any_house.database, name)
    any_house.database.run("CREATE TABLE public.parent (a int) PARTITION BY RANGE (a)")
    any_house.database.run("CREATE TABLE public.leaf PARTITION OF public.parent DEFAULT")
    any_house.database.run("INSERT INTO public.parent SELECT generate_series(1, 1000)")
    flush()
    with any_house.database.connect() as other:
        other.execute("LOCK TABLE public.locked, public.parent IN ACCESS EXCLUSIVE MODE")
        sizes = any_house.run("disk_check", scope=any_house.scope("database"))
        assert (sizes["state"], sizes["steps"][0]["status"]) == ("finished", "done")
        done = any_house.run("vacuum")
        steps = {
            step["object"]: step["status"]
            for step in done["steps"]
            if step["object"].startswith("public.")
        }
        assert (steps["public.locked"], steps["public.other"]) == ("skipped", "done")


def test_a_session_that_has_only_written_holds_the_rows_as_well(any_house, flush):
    any_house.with_logins = False
    database = any_house.database
    database.run("CREATE TABLE public.u (a int)")
    dirty(database, "t", rows=1)
    with database.connect() as other:
        other.execute("INSERT INTO public.u VALUES (1)")
        database.run("INSERT INTO public.t SELECT generate_series(1, 1000)")
        database.run("DELETE FROM public.t")
        flush()
        (step,) = [
            step for step in any_house.run("vacuum")["steps"] if step["object"] == "public.t"
        ]
        assert (
            step["status"],
            f"held back by pid {other.info.backend_pid} " in step["reason"],
        ) == (
            "ineffective",
            True,
        )


def test_huge_tables_overflow_nothing(house, flush_now):
    house.with_logins = False
    dirty(house.database, "t")
    flush_now()
    house.database.run(
        "UPDATE pg_class SET relpages = 2000000000, reltuples = 10 WHERE relname = 't'"
    )
    done = house.run("vacuum")
    assert [step["status"] for step in done["steps"] if step["object"] == "public.t"] == ["done"]


def test_an_age_setting_of_nought_is_no_reason_for_every_table(house, flush_now):
    house.with_logins = False
    house.database.run("CREATE TABLE public.fresh (a int); INSERT INTO public.fresh VALUES (1)")
    house.database.run("VACUUM (ANALYZE) public.fresh")
    house.database.run(f'ALTER DATABASE "{house.database.name}" SET vacuum_freeze_table_age = 0')
    house.database.run(
        f'ALTER DATABASE "{house.database.name}" SET vacuum_multixact_freeze_table_age = 0'
    )
    flush_now()
    assert [
        step["object"] for step in house.run("vacuum")["steps"] if step["object"] == "public.fresh"
    ] == []


def test_a_locked_toast_table_repeats_nothing(house, flush_now):
    """The table itself is done; only its TOAST is still owed: to begin again would scan it all once more."""
    house.with_logins = False
    run = house.database.run
    run("CREATE TABLE public.t (a int, b text STORAGE EXTERNAL) WITH (autovacuum_enabled = off)")
    run("INSERT INTO public.t SELECT n, repeat('x', 3000) FROM generate_series(1, 1000) n")
    run("DELETE FROM public.t WHERE a % 2 = 0")
    run("ANALYZE public.t")
    flush_now()
    toast = house.database.value(
        "SELECT reltoastrelid::regclass::text FROM pg_class WHERE relname = 't'"
    )
    with house.database.connect() as other:
        other.execute("SELECT pg_advisory_lock(1); LOCK TABLE public.t IN ACCESS SHARE MODE")
        other.execute("SET LOCAL allow_system_table_mods = on")
        other.execute(f"REINDEX INDEX {toast}_index")
        house.run("vacuum")
    assert (
        house.database.value("SELECT vacuum_count FROM pg_stat_user_tables WHERE relname = 't'")
        <= 1
    )


def test_a_server_without_room_gets_fewer_sessions(house, flush_now):
    role = f"narrow_{house.maintain}"
    house.database.run(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 2")
    house.database.run(f"GRANT pg_maintain, pg_monitor, pg_read_all_data TO {role}")
    for number in range(2):
        dirty(house.database, f"t{number}", rows=300_000)
    flush_now()
    house.maintain = role
    done = house.run("vacuum")
    assert done["state"] == "finished"
    assert [step["status"] for step in done["steps"] if step["object"].startswith("public.t")] == [
        "done",
        "done",
    ]


def test_what_the_configuration_says_of_a_table_goes_before_its_own_trigger(table):
    rules = [
        TableRule(table="public.log_*", scale_factor=0.01, pace="gentle"),
        TableRule(table="*.*", threshold=500, pace="full", overrun=True),
    ]
    seen = [
        table("log_a", dead=511, tuples=1000.0),
        table("log_b", dead=510, tuples=1000.0),
        table("t", dead=501),
        table("u", dead=500),
    ]
    steps = plan(Observation(TableStatistics(seen, {}, 180000, rules=rules)))
    assert [(step.object, step.why, step.speed, step.overrun) for step in steps[:-1]] == [
        ("public.t", "dead rows: 501, threshold 500", "full", True),
        ("public.log_a", "dead rows: 511, threshold 510", "gentle", True),
    ]
    assert steps[1].postcondition.tables[0].dead == 510


def test_the_options_are_chosen_by_measure(table):
    def verb(*, standbys=False, **changes):
        seen = TableStatistics([table("t", **({"dead": 101, "bytes": BIG} | changes))], {}, 150000)
        (step,) = plan(Observation(seen, standbys=standbys))
        return step.statement().removesuffix(' "public"."t"')

    assert verb() == "VACUUM"
    assert (
        verb(standbys=True) == "VACUUM (TRUNCATE OFF)"
    )  # the lock at its end cancels queries there
    assert (
        verb(standbys=True, dead_bytes=BIG // 2) == "VACUUM"
    )  # but for half of a large table it is worth it
    assert (
        verb(age=1_300_000_000, failing=True) == "VACUUM (FREEZE, INDEX_CLEANUP OFF, TRUNCATE OFF)"
    )
    assert verb(failing=True) == "VACUUM"  # it is not its age that it is due for


@pytest.mark.parametrize(
    ("evidence", "dead", "doomed"),
    [
        ({"horizon": "700", "dead": 1000}, 1400, True),  # he still stands where he stood
        (
            {"horizon": "700", "dead": 1000},
            1600,
            False,
        ),  # many more: they may be of transactions rolled back
        ({"horizon": "699", "dead": 1000}, 1000, False),  # he has moved on
        ({}, 1000, False),  # nobody has tried yet
    ],
)
def test_what_would_be_in_vain_is_known_from_the_last_time(table, evidence, dead, doomed):
    seen = TableStatistics([table("t", dead=dead)], {"public.t": Memory(1.0, 0, evidence)}, 180000)
    (step, _) = plan(Observation(seen, HorizonHolder("slot x", "700")))
    assert (step.ineffective_reason is not None) is doomed
    assert ("held back by slot x" in step.why) is doomed


def test_a_vacuum_in_vain_is_not_done_again_before_its_reason_is_gone(any_house, flush):
    any_house.with_logins = False

    def ended(ran):
        (step,) = [step for step in ran["steps"] if step["object"] == "public.t"]
        return step

    def count():
        flush()
        return any_house.database.value(
            "SELECT vacuum_count AS n FROM pg_stat_user_tables WHERE relname = 't'"
        )

    with any_house.database.connect() as idle:
        idle.execute("SELECT pg_current_xact_id()")
        dirty(any_house.database, "t", rows=5000)
        flush()
        pid = idle.info.backend_pid
        for tried in (1, 1, 1):
            ran = any_house.run("vacuum")
            assert ended(ran)["status"] == "ineffective"
            assert (
                f"held back by pid {pid} (postgres, no name), idle in transaction for "
                in ended(ran)["reason"]
            )
            (finding,) = [one for one in ran["findings"] if one["object"] == "public.t"]
            assert (finding["kind"], f"held back by pid {pid}" in finding["summary"]) == (
                "ineffective",
                True,
            )
            assert count() == tried
        assert [
            f"pid {pid}" in step.why
            for step in any_house.plan("vacuum")
            if step.object == "public.t"
        ] == [True]
    assert (ended(any_house.run("vacuum"))["status"], count()) == ("done", 2)
    assert (
        any_house.database.value(
            "SELECT n_dead_tup AS n FROM pg_stat_user_tables WHERE relname = 't'"
        )
        == 0
    )
