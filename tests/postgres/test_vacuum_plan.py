"""Plan of job vacuum: order of steps, groups and options."""

import pytest

from domain.memory import Memory
from jobs.analyze import Options as AnalyzeOptions
from jobs.steps.vacuum_group import VacuumGroup
from jobs.table_statistics import TableRule, TableStatistics
from jobs.vacuum import GROUP_TABLES, SMALL_BYTES, Observation, plan

BIG = 100 * 1024**2


def test_plan_orders_wraparound_then_dead_bytes_then_small_tables(table):
    tables = [
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
    steps = plan(Observation(TableStatistics(tables, {"public.large": Memory(7.0, 0)}, 160000)))
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


def test_vacuum_analyze_follows_options_of_analyze_job(table):
    statistics = TableStatistics([table("t", dead=101, modified=61)], {}, 150000)

    def statement(**options):
        (step,) = plan(Observation(statistics, analysis=AnalyzeOptions(**options)))
        return step.statement()

    assert statement() == 'VACUUM (ANALYZE) "public"."t"'
    assert statement(exclude=("public.t",)) == 'VACUUM "public"."t"'
    assert statement(tables=({"table": "public.t", "threshold": 62},)) == 'VACUUM "public"."t"'
    assert (
        statement(tables=({"table": "public.t", "threshold": 60},))
        == 'VACUUM (ANALYZE) "public"."t"'
    )


def test_vacuum_before_16_has_no_skip_database_stats_option(table):
    steps = plan(Observation(TableStatistics([table("t", dead=101)], {}, 150000)))
    assert [step.statement() for step in steps] == ['VACUUM "public"."t"']


def test_group_size_is_limited(table):
    def group_sizes(tables, version):
        steps = plan(Observation(TableStatistics(tables, {}, version)))
        return [len(step.members) if isinstance(step, VacuumGroup) else 1 for step in steps]

    many = [table(f"t{number}", dead=101) for number in range(2 * GROUP_TABLES + 1)]
    assert group_sizes(many, 180000) == [GROUP_TABLES, GROUP_TABLES, 1, 1]
    assert group_sizes(many, 150000) == [2 * GROUP_TABLES + 1]
    larger = [table(f"t{number}", dead=101, bytes=SMALL_BYTES - 1) for number in range(20)]
    assert group_sizes(larger, 150000) == [8, 8, 4]


def test_configured_table_rule_overrides_threshold_of_table(table):
    rules = [
        TableRule(table="public.log_*", scale_factor=0.01, pace="gentle"),
        TableRule(table="*.*", threshold=500, pace="full", overrun=True),
    ]
    tables = [
        table("log_a", dead=511, tuples=1000.0),
        table("log_b", dead=510, tuples=1000.0),
        table("t", dead=501),
        table("u", dead=500),
    ]
    steps = plan(Observation(TableStatistics(tables, {}, 180000, rules=rules)))
    assert [(step.object, step.why, step.speed, step.overrun) for step in steps[:-1]] == [
        ("public.t", "dead rows: 501, threshold 500", "full", True),
        ("public.log_a", "dead rows: 511, threshold 510", "gentle", True),
    ]
    assert steps[1].postcondition.tables[0].dead == 510


def test_vacuum_options_depend_on_age_size_and_standbys(table):
    def statement(*, standbys=False, **changes):
        statistics = TableStatistics(
            [table("t", **({"dead": 101, "bytes": BIG} | changes))], {}, 150000
        )
        (step,) = plan(Observation(statistics, standbys=standbys))
        return step.statement().removesuffix(' "public"."t"')

    assert statement() == "VACUUM"
    assert (
        statement(standbys=True) == "VACUUM (TRUNCATE OFF)"
    )  # the lock for truncation cancels queries on a standby
    assert (
        statement(standbys=True, dead_bytes=BIG // 2) == "VACUUM"
    )  # half of a large table is worth the lock
    assert (
        statement(age=1_300_000_000, failing=True)
        == "VACUUM (FREEZE, INDEX_CLEANUP OFF, TRUNCATE OFF)"
    )
    assert statement(failing=True) == "VACUUM"  # due for dead rows, not for its age
