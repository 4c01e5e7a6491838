"""`sereno now` in several databases: side by side up to the limit, in order within each."""

import json

import pytest

SECOND = '[databases.second]\ndsn = "host={} port={} dbname=postgres user=postgres"\n'


@pytest.fixture
def busy(house):
    """Return a house of two databases, in the first of which another sereno holds the lock."""
    cluster = house.database.cluster
    house.with_logins = False
    house.extra = SECOND.format(cluster.socket, cluster.port)
    with house.database.connect(autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(1936028270, 1)")
        yield house


def runs(done):
    found = json.loads(done.stdout)
    return [(run["job"], run["database"], run["state"]) for run in found], found


def test_databases_are_worked_on_side_by_side(busy):
    done = busy.sereno_here("now", "analyze", "integrity_check", "--json")
    listed, found = runs(done)
    assert listed == [
        ("analyze", "main", "skipped"), ("analyze", "second", "finished"),
        ("integrity_check", "main", "skipped"), ("integrity_check", "second", "finished"),
    ]  # fmt: skip
    assert done.returncode == 75
    ended = {(run["job"], run["database"]): run["finished_at"] for run in found}
    begun = {(run["job"], run["database"]): run["started_at"] for run in found}
    assert ended["analyze", "second"] < ended["analyze", "main"]
    for name in ("main", "second"):
        assert ended["analyze", name] <= begun["integrity_check", name]


def test_limit_of_one_is_one_after_the_other(busy):
    path = busy.write()
    path.write_text(path.read_text().replace("[daemon]\n", "[daemon]\nat_once = 1\n", 1))
    busy.write = lambda: path
    _, found = runs(busy.sereno_here("now", "analyze", "--json"))
    assert found[0]["finished_at"] <= found[1]["started_at"]


def test_report_comes_after_all_databases(busy):
    _, found = runs(busy.sereno_here("now", "health_report", "analyze", "--json"))
    report, *others = found
    assert report["job"] == "health_report"
    assert all(run["finished_at"] <= report["started_at"] for run in others)
