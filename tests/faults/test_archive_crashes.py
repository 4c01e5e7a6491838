"""Archiving under SIGKILL, lost connections and server crashes keeps each row in one place."""

import random
import time
import uuid

import pytest

from tests.faults.archive_fixture import ArchiveFixture, Proxy


@pytest.fixture
def archive(tmp_path, clusters):
    def make(*, own=False, **options):
        cluster = clusters("embedded", **({"max_connections": "41"} if own else {}))
        return ArchiveFixture(tmp_path, cluster, f"archive_{uuid.uuid4().hex[:8]}", **options)

    return make


def test_archive_survives_random_sigkill(archive):
    random_source = random.Random(11)
    with archive(rows=20000) as fixture:
        kills = sum(fixture.kill(random_source.uniform(0.5, 0.9)) for _ in range(12))
    counts = fixture.finish_and_check()
    assert kills >= 6
    assert counts["archived"] > 10000


@pytest.mark.parametrize("how", ["before", "after"])
def test_archive_survives_connection_loss_at_commit(archive, how):
    fixture = archive(rows=0)
    proxy = Proxy(fixture.cluster.port)
    fixture.configure(f"host=127.0.0.1 port={proxy.port} dbname={fixture.database}")
    with proxy, fixture:
        while proxy.cuts < 4:
            fixture.insert(100)
            proxy.cut = how
            fixture.sereno("now", "archive")
    fixture.configure(fixture.direct)
    assert fixture.finish_and_check()["archived"] > 200


def test_archive_survives_server_crash(archive):
    """Uses its own server, because other tests share the default one."""
    fixture = archive(rows=10000, own=True)
    with fixture:
        for after in (0.7, 0.8, 1.0):
            with fixture.archiving():
                time.sleep(after)
                fixture.cluster.stop("immediate")
                fixture.cluster.start()
    assert fixture.finish_and_check()["archived"] > 5000
