from pathlib import Path

import pytest

from daemon.demo.cluster import Cluster


@pytest.fixture
def old_cluster(scratch, server, request):
    """A server whose next transaction id is set 600 million ahead, as pg_resetwal can."""
    folder = scratch / "old"
    folder.mkdir(mode=0o755)
    cluster = Cluster(
        folder,
        Path(server.program("")),
        {"autovacuum": "off", "autovacuum_freeze_max_age": "2000000000"},
    )
    cluster.create()
    cluster._call("pg_resetwal", "-D", str(cluster.data), "-x", str(600 * 1024 * 1024))
    clog = cluster.data / "pg_xact" / f"{600 * 1024 * 1024 // (32 * 32768):04X}"
    clog.write_bytes(b"\x55" * 262144)
    cluster._give(clog)
    cluster.start()
    yield cluster
    cluster.stop("immediate")


def test_a_server_far_from_its_last_freeze_is_found_once(
    old_cluster, make_database, make_house, tmp_path
):
    with make_database(old_cluster) as database:
        house = make_house(tmp_path, database)
        house.with_logins = False
        found = [
            row for row in house.run("integrity_check")["findings"] if row["kind"] == "wraparound"
        ]
    assert {row["severity"] for row in found} == {"warning"}
    assert "postgres" in {row["object"] for row in found}
    assert all(0.25 < row["value"] < 0.45 and row["database"] == "" for row in found)


def test_a_fresh_server_is_fine(any_house):
    any_house.with_logins = False
    assert any_house.run("integrity_check")["findings"] == []
