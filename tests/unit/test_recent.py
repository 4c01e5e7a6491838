"""Values that threads share for a moment."""

import threading

import pytest

from execution import recent
from execution.recent import RecentValues


@pytest.fixture
def long(monkeypatch):
    monkeypatch.setattr(recent, "SHARED_SECONDS", 3600)


@pytest.mark.usefixtures("long")
def test_threads_that_ask_at_once_read_once():
    values, reads, seen = RecentValues(), [], []
    begun, ready = threading.Event(), threading.Event()

    def read():
        begun.set()
        ready.wait(10)
        reads.append("x")
        return len(reads)

    threads = [
        threading.Thread(target=lambda: seen.append(values.get("k", read))) for _ in range(5)
    ]
    for one in threads:
        one.start()
    assert begun.wait(10)
    ready.set()
    for one in threads:
        one.join()
    assert seen == [1] * 5


@pytest.mark.usefixtures("long")
def test_keys_are_apart_and_do_not_wait_for_each_other():
    values, inside = RecentValues(), threading.Barrier(2, timeout=10)

    def read(name):
        inside.wait()
        return name

    seen = []
    threads = [
        threading.Thread(target=lambda n=n: seen.append(values.get(n, lambda: read(n))))
        for n in ("a", "b")
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(seen) == ["a", "b"]


@pytest.mark.usefixtures("long")
def test_read_that_fails_is_tried_by_the_next():
    values = RecentValues()

    def fail():
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        values.get("k", fail)
    assert values.get("k", lambda: 1) == 1


def test_value_is_read_again_after_a_while(monkeypatch):
    monkeypatch.setattr(recent, "SHARED_SECONDS", 0)
    values = RecentValues()
    assert [values.get("k", lambda n=n: n) for n in range(3)] == [0, 1, 2]
