import os
from pathlib import Path

import psycopg
import pytest

from daemon.demo.cluster import Cluster


@pytest.fixture
def corrupted_cluster(scratch, server):
    """A server with checksums whose statistics count a checksum failure of a damaged page."""
    folder = scratch / "sick"
    folder.mkdir(mode=0o755)
    cluster = Cluster(folder, Path(server.program("")), {"autovacuum": "off"})
    cluster.create()
    cluster._call("pg_checksums", "-D", str(cluster.data), "--enable", check=False)
    cluster.start()
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        connection.execute("CREATE TABLE public.t AS SELECT n FROM generate_series(1, 1000) n")
        connection.execute("CHECKPOINT")
        path = (
            cluster.data
            / connection.execute("SELECT pg_relation_filepath('public.t')").fetchone()[0]
        )
    cluster.stop()
    with path.open("r+b") as file:
        file.seek(100)
        byte = file.read(1)
        file.seek(100)
        file.write(bytes([byte[0] ^ 0xFF]))
        os.fsync(file.fileno())
    cluster.start()
    with (
        psycopg.connect(cluster.dsn(), autocommit=True) as connection,
        pytest.raises(psycopg.errors.DataCorrupted),
    ):
        connection.execute("SELECT count(*) FROM public.t")
    yield cluster
    cluster.stop("immediate")


def test_checksum_failure_is_critical(corrupted_cluster, make_database, make_house, tmp_path, wait):
    with make_database(corrupted_cluster) as database:
        house = make_house(tmp_path, database)
        house.with_logins = False
        kind = "checksum_failures"
        findings = wait(
            lambda: [r for r in house.run("integrity_check")["findings"] if r["kind"] == kind],
            what="the statistics",
        )
    assert [(row["object"], row["severity"]) for row in findings] == [("postgres", "critical")]


def test_server_without_checksum_failures_has_no_finding(any_house):
    any_house.with_logins = False
    assert any_house.run("integrity_check")["findings"] == []
