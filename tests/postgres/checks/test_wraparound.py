from pathlib import Path

import pytest

from daemon.demo.cluster import Cluster


@pytest.fixture
def old_cluster(scratch, server, request):
    """A server whose next transaction id is set 600 million ahead with pg_resetwal."""
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


def test_transaction_id_age_above_threshold_is_found(
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


def test_new_server_has_no_finding(any_house):
    any_house.with_logins = False
    assert any_house.run("integrity_check")["findings"] == []
