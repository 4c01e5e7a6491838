"""Every remedy is executed by a test, or decided by a person; some are executed here."""

import re
import tomllib
from pathlib import Path

import pytest

from checks.corruption import HEADERS
from checks.judge import remedy_of
from checks.registry import FROM_JOBS, load
from tests.postgres.checks.test_catalogue import ILLNESSES

ROOT = Path(__file__).parents[3]
REMEDIES = tomllib.loads((ROOT / "docs" / "remedies.toml").read_text())


def test_every_remedy_is_executed_by_a_test_or_decided_by_a_person():
    executed = {one.check for one in ILLNESSES if not one.cure} | REMEDIES["executed"].keys()
    assert not executed & REMEDIES["decided"].keys()
    headers = {name: check.header for name, check in load().items()} | FROM_JOBS
    assert executed | REMEDIES["decided"].keys() == {
        name for name, header in headers.items() if header.remedy
    }


@pytest.mark.parametrize("test", sorted(set(REMEDIES["executed"].values())))
def test_named_test_exists(test):
    path, _, name = test.partition("::")
    assert re.search(rf"^def {name}\(", (ROOT / path).read_text(), re.MULTILINE)


def remedy(house, check, **options):
    """Return the remedy of the only finding of a check."""
    house.with_logins, house.exclude = False, []
    house.extra = f"[checks.{check}]\n" + "".join(f"{key} = {options[key]}\n" for key in options)
    found = [one for one in house.run("integrity_check")["findings"] if one["kind"] == check]
    assert len(found) == 1, found
    return found[0]["remedy"]


@pytest.fixture
def own(clusters, make_database, make_house, tmp_path):
    """A house on a server of its own, whose settings may be changed."""
    cluster = clusters(
        "embedded",
        autovacuum="on",
        max_prepared_transactions="5",
        fsync="on",
        full_page_writes="on",
    )
    with make_database(cluster) as database:
        yield make_house(tmp_path, database)


@pytest.mark.parametrize(
    ("check", "before", "setting", "options"),
    [
        ("autovacuum_settings", "autovacuum_naptime = '10min'", "autovacuum_naptime", {}),
        ("risky_setting", "zero_damaged_pages = on", "zero_damaged_pages", {}),
        ("checkpoints_too_often", "max_wal_size = '64MB'", "max_wal_size", {"warning": 20}),
    ],
)
def test_setting_is_changed_by_the_remedy(own, check, before, setting, options, wait):
    run, shown = own.database.run, f"SELECT setting FROM pg_settings WHERE name = '{setting}'"
    was = own.database.value(shown)
    run(f"ALTER SYSTEM SET {before}")
    run("SELECT pg_reload_conf()")
    wait(lambda: own.database.value(shown) != was, what="the setting")
    ill = own.database.value(shown)
    try:
        if check == "checkpoints_too_often":
            own.with_logins = False
            own.run("integrity_check")
            for _ in range(9):
                run("CREATE TABLE public.t (); DROP TABLE public.t; CHECKPOINT")
        text = remedy(own, check, **options)
        for statement in re.findall(r"(?:ALTER SYSTEM|SELECT) [^;]*;", text):
            run(statement)
        wait(lambda: own.database.value(shown) != ill, what="the setting of the remedy")
    finally:
        run(f"ALTER SYSTEM RESET {setting}")
        run("SELECT pg_reload_conf()")


def test_prepared_transaction_is_ended_by_the_remedy(own):
    with own.database.connect() as other:
        other.execute("CREATE TABLE public.t (); PREPARE TRANSACTION 'left ''behind'")
    text = remedy(own, "prepared_transaction", warning=0, high=1000)
    own.database.run(text.partition("or ")[2])
    assert own.database.value("SELECT count(*) FROM pg_prepared_xacts") == 0


@pytest.mark.parametrize(("kind", "method"), [("btree", "btree (a)"), ("gin", "gin (b)")])
def test_index_is_rebuilt_by_the_remedy(house, kind, method):
    run = house.database.run
    run(
        f'CREATE TABLE public."T x" (a int, b int[]); CREATE INDEX "i x" ON public."T x" USING {method}'
    )
    before = house.database.value("SELECT pg_relation_filenode('public.\"i x\"')")
    row = {"value": 1, "relation": 'public."i x"', "concurrently": "CONCURRENTLY "}
    run(remedy_of(HEADERS[kind], row).partition(";")[0])
    assert house.database.value("SELECT pg_relation_filenode('public.\"i x\"')") != before
