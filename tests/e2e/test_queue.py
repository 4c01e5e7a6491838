"""The queue of a fleet: what is given back, lost or withdrawn, and a fetch that hangs."""

import socket
import threading
from contextlib import contextmanager
from dataclasses import replace

import pytest

from daemon.fleet import queue
from daemon.fleet.queue import GivenBackError, Offers, Taker, prepare


@pytest.fixture
def state(state_databases, tmp_path):
    store = state_databases.open(tmp_path / "state.db")
    prepare(store)
    return store


@contextmanager
def taking(store, do, at_once=2, may_take=lambda: True):
    taker, signs = Taker(store, at_once, 0.2), []
    arguments = (do, lambda: signs.append(1), may_take)
    thread = threading.Thread(target=taker.run, args=arguments, daemon=True)
    thread.start()
    yield taker, signs
    taker.stop()
    thread.join(10)


def offer(store, errand):
    with store.transaction() as transaction:
        return Offers().offer(transaction, errand)


def waiting(store):
    with store.reading() as transaction:
        return Offers().open(transaction)


def test_errand_is_taken_once_and_removed(state, wait):
    done = []
    with taking(state, done.append) as (_, signs):
        numbers = [offer(state, {"number": number}) for number in range(20)]
        wait(lambda: len(done) == 20, 20)
        wait(lambda: not waiting(state), 20)
        wait(lambda: signs, 10)
    assert sorted(one["number"] for one in done) == list(range(20))
    assert len(set(numbers)) == 20


def test_given_back_errand_is_taken_again(state, wait):
    tries = []

    def do(errand):
        tries.append(errand)
        if len(tries) < 3:
            raise GivenBackError

    with taking(state, do):
        offer(state, {"a": 1})
        wait(lambda: len(tries) == 3 and not waiting(state), 20)


def test_errand_put_off_tells_why_and_goes_after_others(state, wait):
    tries = []

    def do(errand):
        tries.append(errand["a"])
        if len(tries) == 1:
            raise GivenBackError(60, down=True)
        if len(tries) == 2:
            raise GivenBackError(60)

    with taking(state, do, at_once=1):
        off = [offer(state, {"a": 1})]
        wait(lambda: tries and waiting(state)[off[0]].put_off, 20)
        off.append(offer(state, {"a": 2}))
        wait(lambda: len(tries) == 2 and waiting(state)[off[1]].put_off, 20)
        offer(state, {"a": 3})
        wait(lambda: len(tries) == 3, 20)
        assert [waiting(state)[number].down for number in off] == [True, False]


def test_failing_errand_is_not_tried_again(state, wait):
    tries = []

    def do(errand):
        tries.append(errand)
        raise ValueError("a mistake of ours")

    with taking(state, do):
        offer(state, {"a": 1})
        wait(lambda: tries and not waiting(state), 20)
    assert len(tries) == 1


def test_worker_that_may_not_take_takes_nothing(state, wait):
    done = []
    with taking(state, done.append, may_take=lambda: False) as (_, signs):
        offer(state, {"a": 1})
        wait(lambda: len(signs) > 5, 20)
    assert not done
    assert len(waiting(state)) == 1


def test_withdrawn_errand_ends_nothing_else(state, wait):
    begun, go_on = threading.Event(), threading.Event()

    def do(errand):
        if errand["a"] == 1:
            begun.set()
            go_on.wait(20)

    with taking(state, do, at_once=1):
        number = offer(state, {"a": 1})
        begun.wait(20)
        with state.transaction() as transaction:
            Offers().withdraw(transaction, number)
        later = offer(state, {"a": 2})
        assert set(waiting(state)) == {later}
        go_on.set()
        wait(lambda: not waiting(state), 20)


def test_stalled_errands_are_those_of_silent_workers(state, wait):
    begun, go_on = threading.Event(), threading.Event()

    def do(_):
        begun.set()
        go_on.wait(30)

    with taking(state, do):
        number = offer(state, {"a": 1})
        begun.wait(20)
        with state.reading() as transaction:
            assert Offers().stalled(transaction, 5) == []
        with state.transaction() as transaction:
            transaction.connection.execute(
                "UPDATE sereno_queue.procrastinate_jobs SET worker_id = NULL WHERE id = %s",
                (number,),
            )
        with state.reading() as transaction:
            assert Offers().stalled(transaction, 5) == [number]
        go_on.set()


def test_errand_whose_fetch_lost_its_answer_is_given_back(state, wait):
    done = []
    with taking(state, done.append, may_take=lambda: bool(taken)) as (_, signs):
        taken = []
        number = offer(state, {"a": 1})
        wait(lambda: signs, 20)
        with state.transaction() as transaction:
            transaction.connection.execute(
                "UPDATE sereno_queue.procrastinate_jobs SET status = 'doing', worker_id = "
                "(SELECT max(id) FROM sereno_queue.procrastinate_workers) WHERE id = %s",
                (number,),
            )
        taken.append(1)
        wait(lambda: done, 20)
        wait(lambda: not waiting(state), 20)


def test_worker_that_was_counted_as_dead_registers_again(state, wait):
    done = []
    with taking(state, done.append) as (_, signs):
        wait(lambda: signs, 20)
        with state.transaction() as transaction:
            transaction.connection.execute("DELETE FROM sereno_queue.procrastinate_workers")
        offer(state, {"a": 1})
        wait(lambda: done, 20)


def test_queue_of_an_older_version_is_made_anew(state):
    offer(state, {"a": 1})
    prepare(state)
    assert len(waiting(state)) == 1, "the same version is left alone"
    with state.transaction() as transaction:
        transaction.connection.execute(
            "UPDATE sereno_state.instance SET value = '3.9.9' WHERE name = 'queue version'"
        )
    prepare(state)
    assert not waiting(state)


def test_fetch_through_a_half_open_connection_is_noticed(state, server, monkeypatch, wait):
    monkeypatch.setattr(queue, "FETCH_SECONDS", 1.0)
    monkeypatch.setattr(queue, "MOST_SESSIONS", 1)
    with Silent(server.port) as proxy:
        url = f"postgresql://postgres@127.0.0.1:{proxy.port}/{state.url.rpartition('/')[2]}"
        with taking(replace(state, url=url), lambda _: None) as (taker, signs):
            wait(lambda: signs, 20)
            assert not taker.hangs()
            proxy.silent.set()
            wait(taker.hangs, 30, "the fetch that hangs is seen")


class Silent:
    """A proxy whose connections take everything and answer nothing once it is `silent`.

    New ones work.
    """

    def __init__(self, port):
        self._port, self.silent = port, threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open = [self._listener]

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        for one in self._open:
            one.close()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            upstream = socket.create_connection(("127.0.0.1", self._port))
            self._open += [client, upstream]
            is_new = self.silent.is_set()
            for pair in ((client, upstream), (upstream, client)):
                threading.Thread(target=self._copy, args=(*pair, is_new), daemon=True).start()

    def _copy(self, source, target, is_new):
        try:
            while data := source.recv(65536):
                if is_new or not self.silent.is_set():
                    target.sendall(data)
        except OSError:
            return
