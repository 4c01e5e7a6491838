"""Job vacuum with dead rows that the xmin horizon protects."""

import pytest

from domain.memory import Memory
from jobs.table_statistics import TableStatistics
from jobs.vacuum import Observation, plan
from postgres.catalog.xmin_horizon import HorizonHolder
from tests.postgres.dead_rows import create_dead_rows


def test_vacuum_is_ineffective_while_open_transaction_sees_dead_rows(any_house, flush):
    any_house.with_logins = False
    database = any_house.database
    create_dead_rows(database, "t", rows=1)
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


def test_partly_effective_vacuum_names_remaining_rows_and_horizon_holder(any_house, flush):
    any_house.with_logins = False
    database = any_house.database
    create_dead_rows(database, "t", rows=4000)
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


def test_open_write_transaction_holds_xmin_horizon(any_house, flush):
    any_house.with_logins = False
    database = any_house.database
    database.run("CREATE TABLE public.u (a int)")
    create_dead_rows(database, "t", rows=1)
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


@pytest.mark.parametrize(
    ("evidence", "dead", "ineffective"),
    [
        ({"horizon": "700", "dead": 1000}, 1400, True),  # the horizon has not moved
        (
            {"horizon": "700", "dead": 1000},
            1600,
            False,
        ),  # many more rows: some may be of aborted transactions
        ({"horizon": "699", "dead": 1000}, 1000, False),  # the horizon has moved
        ({}, 1000, False),  # no earlier attempt
    ],
)
def test_ineffective_vacuum_is_predicted_from_last_xmin_horizon(table, evidence, dead, ineffective):
    statistics = TableStatistics(
        [table("t", dead=dead)], {"public.t": Memory(1.0, 0, evidence)}, 180000
    )
    (step, _) = plan(Observation(statistics, HorizonHolder("slot x", "700")))
    assert (step.ineffective_reason is not None) is ineffective
    assert ("held back by slot x" in step.why) is ineffective


def table_step(run):
    (step,) = [step for step in run["steps"] if step["object"] == "public.t"]
    return step


def test_ineffective_vacuum_is_not_repeated_until_xmin_horizon_moves(any_house, flush):
    any_house.with_logins = False

    def vacuum_count():
        flush()
        return any_house.database.value(
            "SELECT vacuum_count AS n FROM pg_stat_user_tables WHERE relname = 't'"
        )

    with any_house.database.connect() as idle:
        idle.execute("SELECT pg_current_xact_id()")
        create_dead_rows(any_house.database, "t", rows=5000)
        flush()
        pid = idle.info.backend_pid
        for _ in range(3):
            ran = any_house.run("vacuum")
            assert table_step(ran)["status"] == "ineffective"
            assert (
                f"held back by pid {pid} (postgres, no name), idle in transaction for "
                in table_step(ran)["reason"]
            )
            (finding,) = [row for row in ran["findings"] if row["object"] == "public.t"]
            assert (finding["kind"], f"held back by pid {pid}" in finding["summary"]) == (
                "ineffective",
                True,
            )
            assert vacuum_count() == 1
        assert [
            f"pid {pid}" in step.why
            for step in any_house.plan("vacuum")
            if step.object == "public.t"
        ] == [True]
    assert (table_step(any_house.run("vacuum"))["status"], vacuum_count()) == ("done", 2)
    assert (
        any_house.database.value(
            "SELECT n_dead_tup AS n FROM pg_stat_user_tables WHERE relname = 't'"
        )
        == 0
    )
