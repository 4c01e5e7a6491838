"""Job analyze: due tables by threshold, partitioned tables, missing statistics."""

import pytest

from domain.memory import Memory
from jobs.analyze import Observation, plan
from jobs.table_statistics import TableStatistics


def objects(run):
    return [step["object"] for step in run["steps"]]


def test_stale_and_never_analyzed_tables_are_analyzed(any_house, flush):
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


def test_partitioned_table_is_analyzed_again_after_changes_in_partitions(any_house, flush):
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


def test_partitioned_table_analyzed_by_another_session_is_not_due(any_house, flush):
    any_house.with_logins = False
    run = any_house.database.run
    run("CREATE TABLE public.p (a int) PARTITION BY RANGE (a)")
    run("CREATE TABLE public.p1 PARTITION OF public.p DEFAULT")
    run("INSERT INTO public.p SELECT generate_series(1, 1000)")
    flush()
    run("ANALYZE public.p")
    assert objects(any_house.run("analyze")) == []


def test_partitioned_table_without_partitions_is_not_due(any_house):
    any_house.with_logins = False
    any_house.database.run("CREATE TABLE public.p (a int) PARTITION BY RANGE (a)")
    assert objects(any_house.run("analyze")) == []


def test_table_without_privilege_is_skipped(any_house):
    """The role may only read; the server itself would only warn."""
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


def test_analyze_that_only_warns_is_ineffective(house):
    """The postcondition decides, not the absence of an error."""
    import threading

    from psycopg import sql

    from execution.control import RunLimits, StepControl
    from execution.governor import Limits, Sample
    from execution.progress import NoProgress
    from execution.step import Status
    from execution.window import open_window
    from jobs.steps.postconditions import Analyzed
    from jobs.steps.statement import Statement
    from postgres.session import MAINTAIN, Credentials, Target, open_session

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
        RunLimits(open_window(None), threading.Event(), Sample, Limits(), NoProgress(), Sample), 60
    )
    target = Target("main", house.database.dsn, {MAINTAIN: Credentials(role)})
    with open_session(target, MAINTAIN, "x") as opened:
        outcome = step.apply(opened, pace)
    assert outcome.status is Status.INEFFECTIVE


@pytest.mark.parametrize("version", [150000, 180000])
def test_plan_orders_by_urgency_and_states_row_counts(table, version):
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
    if version < 180000:  # ANALYZE of a partitioned table includes its partitions
        expected.remove("public.leaf")
    assert [step.object for step in steps] == expected
    assert steps[1].why == "600 rows changed, threshold 60"
    assert ("ONLY" in steps[2].statement()) is (version >= 180000)


def test_table_is_due_after_counter_reset(table):
    parent = table("parent", partitioned=True, changes=80)
    statistics = TableStatistics(
        [parent], {"public.parent": Memory(1, 0, {"changes": 900})}, 180000
    )
    assert [step.object for step in plan(Observation(statistics, {}))] == ["public.parent"]


def test_old_statistics_of_changed_table_are_renewed(table):
    tables = [
        table("old", modified=1, analyzed_ago=40 * 86400.0),
        table("untouched", modified=0, analyzed_ago=40 * 86400.0),
        table("young", modified=1, analyzed_ago=20 * 86400.0),
    ]
    steps = plan(Observation(TableStatistics(tables, {}, 180000), {}, older_than=30 * 86400.0))
    assert [(step.object, step.why) for step in steps] == [
        ("public.old", "statistics 40 days old, 1 rows changed since")
    ]


def test_missing_statistics_are_created_once(any_house, flush):
    """For a new column, an index expression and extended statistics, without changed rows."""
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


def test_statistics_known_to_be_missing_do_not_make_table_due(table):
    statistics = TableStatistics(
        [table("t")], {"public.t": Memory(1.0, 0, {"missing": ["odd"]})}, 180000
    )
    assert plan(Observation(statistics, {hash("t"): ["odd"]})) == []
    (step,) = plan(Observation(statistics, {hash("t"): ["new", "odd"]}))
    assert step.why == "statistics missing for new, odd"


def test_statistics_still_missing_after_analyze_are_reported_and_remembered(any_house, flush):
    """A partial expression index without matching rows gets no statistics."""
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


def test_missing_privilege_to_read_statistics_is_reported(table):
    (step,) = plan(Observation(TableStatistics([table("t")], {}, 180000), None))
    assert (
        step.why
        == "no privilege: missing statistics are read from pg_statistic; sereno install grants it"
    )
