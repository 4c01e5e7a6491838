"""The archive under SIGKILL, a crash of the server, a full disk: every row is in exactly one place."""

import random
import time
import uuid

import pytest

from tests.faults.archive_ground import Ground, Proxy


@pytest.fixture
def ground(tmp_path, clusters):
    def make(*, own=False, **options):
        cluster = clusters("embedded", **({"max_connections": "41"} if own else {}))
        return Ground(tmp_path, cluster, f"ground_{uuid.uuid4().hex[:8]}", **options)

    return make


def test_sigkill_at_random(ground):
    draw = random.Random(11)
    with ground(rows=20000) as made:
        hits = sum(made.kill(draw.uniform(0.5, 0.9)) for _ in range(12))
    said = made.whole()
    assert hits >= 6
    assert said["archived"] > 10000


@pytest.mark.parametrize("how", ["before", "after"])
def test_a_commit_that_is_lost_on_the_way_and_one_whose_answer_is(ground, how):
    made = ground(rows=0)
    proxy = Proxy(made.cluster.port)
    made.configure(f"host=127.0.0.1 port={proxy.port} dbname={made.database}")
    with proxy, made:
        while proxy.cuts < 4:
            made.fill(100)
            proxy.cut = how
            made.sereno("now", "archive")
    made.configure(made.direct)
    assert made.whole()["archived"] > 200


def test_the_server_crashes(ground):
    """On a server of its own: nobody else is to feel it."""
    made = ground(rows=10000, own=True)
    with made:
        for after in (0.7, 0.8, 1.0):
            with made.archiving():
                time.sleep(after)
                made.cluster.stop("immediate")
                made.cluster.start()
    assert made.whole()["archived"] > 5000
