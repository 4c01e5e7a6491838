"""Errors of other servers, of class 08, raised inside a statement: they end that statement only."""

import pytest

from tests.postgres.log_table import TABLE, fill

DEAD = """
    CREATE EXTENSION postgres_fdw;
    CREATE SERVER dead FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '1', dbname 'x');
    CREATE USER MAPPING FOR public SERVER dead OPTIONS (user 'x', password 'y');
    CREATE TABLE public.par (id int, d date) PARTITION BY RANGE (d);
    CREATE TABLE public.par_1 PARTITION OF public.par FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
    CREATE FOREIGN TABLE public.par_0 PARTITION OF public.par
      FOR VALUES FROM ('2023-01-01') TO ('2024-01-01') SERVER dead;
    INSERT INTO public.par SELECT g, '2024-01-01'::date + g % 300 FROM generate_series(1, 2000) g;
    CREATE TABLE public.zz1 AS SELECT g AS id FROM generate_series(1, 2000) g
"""


@pytest.fixture
def dead(any_house):
    any_house.with_logins = False
    any_house.database.run(DEAD)
    return any_house


def statuses(run):
    return {step["object"]: step["status"] for step in run["steps"]}


def test_dead_foreign_partition_stops_the_analyze_of_no_other_table(dead, flush):
    flush()
    run = dead.run("analyze")
    steps = statuses(run)
    assert (steps["public.par"], steps["public.zz1"]) == ("failed", "done")
    assert run["state"] == "failed"


def test_check_of_a_dead_foreign_table_stops_no_other_check(dead):
    dead.extra = '[[checks.orphans]]\nchild = "public.zz1(id)"\nparent = "public.par_0(id)"\n'
    steps = statuses(dead.run("integrity_check"))
    assert steps["orphans"] == "failed"
    assert steps["wraparound"] == steps["sequence_exhaustion"] == "done"


def test_trigger_that_asks_a_dead_server_stops_the_clean_up_of_no_other_table(house):
    run = house.database.run
    run("CREATE EXTENSION dblink; CREATE TABLE public.log (id bigint PRIMARY KEY, at timestamptz)")
    run("CREATE TABLE public.first (id bigint PRIMARY KEY, at timestamptz)")
    run(
        "CREATE FUNCTION public.asks() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM"
        " public.dblink_exec('host=127.0.0.1 port=1 user=x password=y', 'SELECT 1');"
        " RETURN NULL; END $$"
    )
    run(
        "CREATE TRIGGER asks AFTER DELETE ON public.first FOR EACH STATEMENT"
        " EXECUTE FUNCTION public.asks()"
    )
    house.extra = TABLE.replace("public.log", "public.first") + TABLE
    house.install()
    fill(house, 5, table="public.first")
    fill(house, 5)
    steps = statuses(house.run("log_cleanup"))
    assert steps == {"public.first": "failed", "public.log": "done"}
