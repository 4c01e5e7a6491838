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
def test_threads_that_waited_for_a_read_that_fails_read_at_once():
    """Not one after the other, each with the timeout of what does not answer."""
    values, begun, ready = RecentValues(), threading.Event(), threading.Event()
    together, seen = threading.Barrier(4, timeout=10), []

    def fail():
        begun.set()
        ready.wait(10)
        raise OSError("gone")

    def ask(read):
        try:
            seen.append(values.get("k", read))
        except OSError as error:
            seen.append(str(error))

    first = threading.Thread(target=ask, args=(fail,))
    first.start()
    assert begun.wait(10)
    others = [threading.Thread(target=ask, args=(together.wait,)) for _ in range(4)]
    for one in others:
        one.start()
    ready.set()
    for one in (first, *others):
        one.join(10)
    assert sorted(map(str, seen)) == ["0", "1", "2", "3", "gone"]


@pytest.mark.usefixtures("long")
def test_read_that_hangs_keeps_nobody_waiting(monkeypatch):
    monkeypatch.setattr(recent, "PATIENCE_SECONDS", 0.1)
    values, begun, ready = RecentValues(), threading.Event(), threading.Event()

    def hang():
        begun.set()
        ready.wait(10)

    hanging = threading.Thread(target=values.get, args=("k", hang))
    hanging.start()
    assert begun.wait(10)
    assert values.get("k", lambda: "own") == "own"
    ready.set()
    hanging.join()


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
