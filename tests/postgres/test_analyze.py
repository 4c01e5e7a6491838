"""ANALYZE where it is needed, by each table's own threshold; the parents too; nothing twice."""

import pytest

from domain.memory import Memory
from jobs.analyze import Observation, plan
from jobs.table_statistics import TableStatistics


def objects(run):
    return [step["object"] for step in run["steps"]]


def test_stale_never_analyzed_and_fresh(any_house, flush):
    any_house.with_logins = False
    run = any_house.database.run
    for name in ("fresh", "stale", "never", "empty", "own"):
        run(f"CREATE TABLE public.{name} (a int)")
    run(
        "ALTER TABLE public.own SET (autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 10)"
    )
    for name in ("fresh", "stale", "never", "own"):
        run(f"INSERT INTO public.{name} SELECT generate_series(1, 1000)")
    flush()
    for name in ("fresh", "stale", "own"):
        run(f"ANALYZE public.{name}")
    run("INSERT INTO public.stale SELECT generate_series(1, 400)")
    run("INSERT INTO public.own SELECT generate_series(1, 11)")
    run("INSERT INTO public.fresh SELECT generate_series(1, 11)")
    run(
        "SELECT pg_stat_force_next_flush()"
        if any_house.database.admin.info.server_version >= 150000
        else "SELECT pg_sleep(1)"
    )
    done = any_house.run("analyze")
    assert (done["state"], objects(done)) == (
        "finished",
        ["public.never", "public.stale", "public.own"],
    )
    assert {step["status"] for step in done["steps"]} == {"done"}
    assert objects(any_house.run("analyze")) == []


def test_a_partitioned_parent_is_analyzed_and_again_when_its_leaves_have_changed(any_house, flush):
    any_house.with_logins = False
    run = any_house.database.run
    run("CREATE TABLE public.p (a int) PARTITION BY RANGE (a)")
    run("CREATE TABLE public.p1 PARTITION OF public.p FOR VALUES FROM (0) TO (10000)")
    run("INSERT INTO public.p SELECT generate_series(1, 1000)")
    flush()
    run("ANALYZE public.p1")
    assert objects(any_house.run("analyze")) == ["public.p"]
    inherited = "SELECT count(*) FROM pg_stats WHERE tablename = 'p' AND inherited"
    assert any_house.database.value(inherited) == 1
    assert objects(any_house.run("analyze")) == []
    run("INSERT INTO public.p SELECT generate_series(1, 900)")
    flush()
    run("ANALYZE public.p1")
    assert objects(any_house.run("analyze")) == ["public.p"]
    assert objects(any_house.run("analyze")) == []


def test_a_parent_that_somebody_else_has_just_analyzed_is_left_to_them(any_house, flush):
    any_house.with_logins = False
    run = any_house.database.run
    run("CREATE TABLE public.p (a int) PARTITION BY RANGE (a)")
    run("CREATE TABLE public.p1 PARTITION OF public.p DEFAULT")
    run("INSERT INTO public.p SELECT generate_series(1, 1000)")
    flush()
    run("ANALYZE public.p")
    assert objects(any_house.run("analyze")) == []


def test_an_empty_partitioned_parent_is_left_alone(any_house):
    any_house.with_logins = False
    any_house.database.run("CREATE TABLE public.p (a int) PARTITION BY RANGE (a)")
    assert objects(any_house.run("analyze")) == []


def test_a_table_without_the_right_is_skipped_and_never_called_done(any_house):
    """As a role that may only look: the server itself would only warn, and a tool that trusts it reports green."""
    role = f"nobody_{any_house.maintain}"
    run = any_house.database.run
    run(f"CREATE ROLE {role} LOGIN")
    run(f"GRANT pg_read_all_data TO {role}")
    run("CREATE TABLE public.t (a int); INSERT INTO public.t VALUES (1)")
    any_house.with_logins = True
    any_house.maintain = role
    done = any_house.run("analyze")
    assert [(step["status"], step["reason"][:12]) for step in done["steps"]] == [
        ("skipped", "no privilege")
    ]
    assert [(row["kind"], row["severity"]) for row in done["findings"]] == [
        ("task_skipped", "info")
    ]


def test_analyze_that_only_warned_is_ineffective(house):
    """The catalog said yes and the server no: the postcondition, not the absence of an error, decides."""
    import threading

    from psycopg import sql

    from execution.control import RunLimits, StepControl
    from execution.governor import Limits, Sample
    from execution.progress import NoProgress
    from execution.step import Status
    from execution.window import open_window
    from jobs.steps.postconditions import Analyzed
    from jobs.steps.statement import Statement
    from postgres.session import Credentials, Target, open_session

    role = f"nobody_{house.maintain}"
    house.database.run(f"CREATE ROLE {role} LOGIN")
    house.database.run("CREATE TABLE public.t (a int); INSERT INTO public.t VALUES (1)")
    oid = house.database.value("SELECT 'public.t'::regclass::oid::int8")
    step = Statement(
        name="analyze",
        object="public.t",
        command=sql.SQL("ANALYZE public.t").format(),
        postcondition=Analyzed(oid),
    )
    pace = StepControl(
        RunLimits(open_window(None), threading.Event(), Sample, Limits(), NoProgress()), 60
    )
    target = Target("main", house.database.dsn, {"maintain": Credentials(role)})
    with open_session(target, "maintain", "x") as opened:
        outcome = step.apply(opened, pace)
    assert outcome.status is Status.INEFFECTIVE


@pytest.mark.parametrize("version", [150000, 180000])
def test_the_plan_is_by_need_and_names_the_numbers(table, version):
    parent = table("parent", partitioned=True, changes=500, oid=7)
    leaf = table("leaf", root=7, modified=90)
    tables = [
        table("little", modified=61),
        table("much", modified=600),
        table("fresh"),
        table("never", unknown=True),
        parent,
        leaf,
    ]
    memory = {"public.parent": Memory(1.0, 0, {"changes": 100})}
    steps = plan(Observation(TableStatistics(tables, memory, version), {}))
    expected = ["public.never", "public.much", "public.parent", "public.leaf", "public.little"]
    if version < 180000:  # there ANALYZE of the parent does its leaves as well
        expected.remove("public.leaf")
    assert [step.object for step in steps] == expected
    assert steps[1].why == "600 rows changed, threshold 60"
    assert ("ONLY" in steps[2].statement()) is (version >= 180000)


def test_counters_that_were_reset_are_no_negative_change(table):
    parent = table("parent", partitioned=True, changes=80)
    seen = TableStatistics([parent], {"public.parent": Memory(1, 0, {"changes": 900})}, 180000)
    assert [step.object for step in plan(Observation(seen, {}))] == ["public.parent"]


def test_old_statistics_are_renewed_where_anything_has_changed(table):
    tables = [
        table("old", modified=1, analyzed_ago=40 * 86400.0),
        table("untouched", modified=0, analyzed_ago=40 * 86400.0),
        table("young", modified=1, analyzed_ago=20 * 86400.0),
    ]
    steps = plan(Observation(TableStatistics(tables, {}, 180000), {}, older_than=30 * 86400.0))
    assert [(step.object, step.why) for step in steps] == [
        ("public.old", "statistics 40 days old, 1 rows changed since")
    ]


def test_what_has_no_statistics_gets_them_once(any_house, flush):
    """A column that came later, an expression of an index, extended statistics: not one row needs to have changed."""
    any_house.with_logins = False
    run = any_house.database.run
    run(
        "CREATE TABLE public.t (a int, b text); INSERT INTO public.t SELECT n, n::text FROM generate_series(1, 500) n"
    )
    run(
        "CREATE TABLE public.p (a int) PARTITION BY RANGE (a); CREATE TABLE public.p1 PARTITION OF public.p DEFAULT"
    )
    run("INSERT INTO public.p SELECT generate_series(1, 500)")
    flush()
    run("ANALYZE")
    assert any_house.run("analyze")["steps"] == []
    run(
        'ALTER TABLE public.t ADD COLUMN "Größe" int DEFAULT 7; CREATE INDEX ON public.t (lower(b))'
    )
    run(
        "CREATE STATISTICS public.pair ON a, b FROM public.t; ALTER TABLE public.p ADD COLUMN c int DEFAULT 1"
    )
    planned = {step.object: step.why for step in any_house.plan("analyze")}
    assert planned == {
        "public.t": "statistics missing for Größe, an expression of t_lower_idx, statistics pair",
        "public.p": "statistics missing for c",
        **(
            {"public.p1": "statistics missing for c"}
            if any_house.database.admin.info.server_version >= 180000
            else {}
        ),
    }
    ran = any_house.run("analyze")
    assert {step["status"] for step in ran["steps"]} == {"done"}
    assert any_house.run("analyze")["steps"] == []


def test_statistics_that_stay_missing_are_no_reason_again(table):
    seen = TableStatistics([table("t")], {"public.t": Memory(1.0, 0, {"missing": ["odd"]})}, 180000)
    assert plan(Observation(seen, {hash("t"): ["odd"]})) == []
    (step,) = plan(Observation(seen, {hash("t"): ["new", "odd"]}))
    assert step.why == "statistics missing for new, odd"


def test_what_analyze_cannot_make_is_said_and_remembered(any_house, flush):
    """An expression index whose predicate no row meets has no statistics, however often one asks."""
    any_house.with_logins = False
    run = any_house.database.run
    run(
        "CREATE TABLE public.t (a int, b text); INSERT INTO public.t SELECT n, n::text FROM generate_series(1, 500) n"
    )
    flush()
    run("ANALYZE public.t; CREATE INDEX part ON public.t (lower(b)) WHERE a < 0")
    (step,) = any_house.run("analyze")["steps"]
    assert (step["status"], step["reason"]) == (
        "done",
        "statistics still missing for an expression of part",
    )
    assert any_house.run("analyze")["steps"] == []
    run("ALTER TABLE public.t ADD COLUMN c int DEFAULT 1")
    (step,) = any_house.run("analyze")["steps"]
    assert (step["status"], step["reason"]) == (
        "done",
        "statistics still missing for an expression of part",
    )
    run("ALTER TABLE public.t DROP COLUMN c; ALTER TABLE public.t ADD COLUMN c int DEFAULT 1")
    assert len(any_house.run("analyze")["steps"]) == 1


def test_who_may_not_see_which_statistics_are_missing_says_so(table):
    (step,) = plan(Observation(TableStatistics([table("t")], {}, 180000), None))
    assert (
        step.why
        == "no privilege: only a member of pg_read_all_data may see which statistics are missing"
    )
