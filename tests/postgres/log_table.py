"""A log table whose expired rows are deleted."""

import pytest

TABLE = """
[[jobs.log_cleanup.tables]]
table = 'public.log'
column = "at"
keep = "30 days"
"""


@pytest.fixture
def log(house):
    house.database.run(f"CREATE ROLE app_{house.maintain} LOGIN")
    house.database.run("CREATE TABLE public.log (id bigint PRIMARY KEY, at timestamptz, note text)")
    house.extra = TABLE
    house.install()
    return house


def fill(house, old, new=10, table="public.log"):
    house.database.run(
        f"INSERT INTO {table} (id, at) SELECT n, now() - interval '31 days' - n * interval '1 s' FROM generate_series(1, {old}) n"
    )
    house.database.run(
        f"INSERT INTO {table} (id, at) SELECT -n, now() - n * interval '1 day' FROM generate_series(1, {new}) n"
    )
