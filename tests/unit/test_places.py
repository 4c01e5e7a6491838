"""Work in places: the limit, one at a time in each place, those that wait, and the stop."""

import threading
import time
from collections import Counter
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.scheduling.admission import Limits, Work, admissible
from daemon.scheduling.places import Places

PLACES = st.lists(st.sampled_from("abcdefgh"), max_size=30)


WORKS = st.lists(
    st.builds(
        Work,
        st.sampled_from("abcdefgh"),
        st.sampled_from(["", "one", "two"]),
        st.integers(0, 5),
        st.integers(-1, 1),
    ),
    max_size=30,
)


@given(WORKS, WORKS, st.sets(st.sampled_from("abcdefgh")), st.integers(1, 8), st.integers(2, 5))
def test_admitted_work_respects_every_limit(waiting, working, busy, at_once, sessions):
    limits = Limits(at_once, {"one": sessions, "two": sessions})
    admitted = admissible(waiting, busy, working, limits)
    begun = [waiting[one] for one in admitted]
    assert len({work.place for work in begun}) == len(begun), "one at a time in each place"
    assert not {work.place for work in begun} & busy
    assert len(begun) <= max(0, at_once - len(working))
    assert [work.priority for work in begun] == sorted(
        (work.priority for work in begun), reverse=True
    )
    for server in ("one", "two"):
        before = sum(work.sessions for work in working if work.server == server)
        some = [work.sessions for work in begun if work.server == server and work.sessions]
        alone = not before and len(some) == 1
        assert not some or alone or before + sum(some) <= sessions


@given(WORKS, st.sets(st.sampled_from("abcdefgh")), st.integers(1, 8))
def test_work_waits_only_for_its_place_its_server_or_a_turn(waiting, busy, at_once):
    limits = Limits(at_once, {"one": 4, "two": 4})
    admitted = admissible(waiting, busy, (), limits)
    begun = [waiting[one] for one in admitted]
    if len(begun) == at_once:
        return
    full = {
        work.server
        for work in waiting
        if work.sessions
        and work not in begun
        and work.sessions + sum(b.sessions for b in begun if b.server == work.server) > 4
    }
    taken = busy | {work.place for work in begun}
    assert all(
        work.place in taken or work.server in full
        for one, work in enumerate(waiting)
        if one not in admitted
    )


def test_nothing_passes_work_of_the_same_server_that_needs_more_sessions():
    waiting = [Work("wide", "one", 4), Work("narrow", "one", 1), Work("other", "two", 1)]
    limits = Limits(8, {"one": 4, "two": 4})
    assert admissible(waiting, (), [Work("now", "one", 1)], limits) == [2]
    assert admissible([Work("widest", "one", 9), *waiting], (), (), limits) == [0, 3]


@given(PLACES, st.integers(1, 4))
def test_all_work_is_done_within_the_limit_and_in_order(order, at_once):
    places, guard, now, most, done = Places(Limits(at_once)), threading.Lock(), Counter(), [0], []

    def work(number, place):
        with guard:
            now[place] += 1
            assert now[place] == 1
            most[0] = max(most[0], sum(now.values()))
        with guard:
            now[place] -= 1
            done.append((place, number))

    ends = [places.submit(Work(place), partial(work, n, place)) for n, place in enumerate(order)]
    assert not wait_for(ends, 20).not_done
    assert [one.exception() for one in ends] == [None] * len(order)
    assert most[0] <= at_once
    for place in set(order):
        numbers = [number for one, number in done if one == place]
        assert numbers == sorted(numbers)
    places.stop()


def test_work_that_waits_for_its_server_leaves_its_turn_and_takes_one_again(monkeypatch):
    monkeypatch.setattr("daemon.scheduling.places.BEAT_SECONDS", 0.01)
    places, server, said = Places(Limits(1)), threading.Event(), []

    def unreachable():
        with places.aside(lambda: said.append("lives"), down=False):
            assert server.wait(20)
        said.append("reached")

    def other():
        said.append("other")
        server.set()
        deadline = time.monotonic() + 20
        while "lives" not in said and time.monotonic() < deadline:
            time.sleep(0.01)

    ends = [places.submit(Work("down"), unreachable), places.submit(Work("up"), other)]
    assert not wait_for(ends, 20).not_done
    assert [one.exception() for one in ends] == [None, None]
    assert said[0] == "other"
    assert said[-1] == "reached"
    assert "lives" in said, "the watchdog hears of it while it waits for a turn"
    places.stop()


def _ran_beside_a_waiting_one(others, limits, *, down):
    """Return which of the works run while another one waits for its server."""
    places, server, aside = Places(limits), threading.Event(), threading.Event()

    def waits():
        with places.aside(lambda: None, down=down):
            aside.set()
            assert server.wait(20)

    ends = [places.submit(Work("waits", "one:5432", 1), waits)]
    assert aside.wait(20)
    ends += [places.submit(one, lambda: None) for one in others]
    with places._changed:
        assert places._changed.wait_for(lambda: len(places._begun) == 1, 20)
    waiting = {turn.work.place for turn in places._waiting}
    server.set()
    assert not wait_for(ends, 20).not_done
    places.stop()
    return {one.place for one in others} - waiting


def test_nothing_more_begins_in_a_server_that_is_down_until_it_answers():
    others = [Work(f"d{number}", "one:5432", 1) for number in range(60)]
    others.append(Work("other", "two:5432", 1))
    limits = Limits(4, {"one": 4}, {"one:5432": "one"})
    assert _ran_beside_a_waiting_one(others, limits, down=True) == {"other"}


def test_database_that_refuses_keeps_no_other_of_its_server_from_beginning():
    others = [Work("same server", "one:5432", 1), Work("other", "two:5432", 1)]
    assert _ran_beside_a_waiting_one(others, Limits(4), down=False) == {"same server", "other"}


def test_limit_holds_when_the_key_of_a_server_changes_while_it_is_worked_in():
    places, go, guard, now, most = (
        Places(Limits(16, {"a:1": 2})),
        threading.Event(),
        threading.Lock(),
        [0],
        [0],
    )

    def work():
        with guard:
            now[0] += 1
            most[0] = max(most[0], now[0])
        assert go.wait(20)
        with guard:
            now[0] -= 1

    ends = [places.submit(Work(f"d{number}", "a:1", 1), work) for number in range(6)]
    places.limit(Limits(16, {"71": 2}, {"a:1": "71"}))
    ends += [places.submit(Work(f"e{number}", "a:1", 1), work) for number in range(6)]
    places.limit(Limits(16))  # the server is not configured any more; its work goes on
    go.set()
    assert not wait_for(ends, 20).not_done
    assert most == [2]
    places.stop()


def test_work_that_comes_back_goes_before_work_that_has_not_begun():
    places, order = Places(Limits(1)), []
    back, begun = threading.Event(), threading.Event()

    def returning():
        with places.aside(lambda: None, down=False):
            assert begun.wait(20)
            back.set()
        order.append("returning")

    def running():
        begun.set()
        assert back.wait(20)
        deadline = time.monotonic() + 20
        while not places._returning and time.monotonic() < deadline:
            time.sleep(0.005)
        order.append("running")

    ends = [places.submit(Work("a"), returning), places.submit(Work("b"), running)]
    ends += [places.submit(Work(place), partial(order.append, place)) for place in "cde"]
    assert not wait_for(ends, 20).not_done
    assert order[:2] == ["running", "returning"]
    places.stop()


def test_failure_is_that_of_its_work_alone():
    places = Places(Limits(2))
    bad = places.submit(Work("a"), lambda: 1 / 0)
    good = places.submit(Work("a"), lambda: None)
    wait_for([bad, good], 20)
    assert isinstance(bad.exception(), ZeroDivisionError)
    assert good.exception() is None
    places.stop()


def test_stop_ends_what_waits_and_refuses_more():
    places, began, go, ran = Places(Limits(1)), threading.Event(), threading.Event(), []

    def first():
        began.set()
        go.wait(20)
        ran.append("first")

    ends = [
        places.submit(Work("a"), first),
        places.submit(Work("b"), partial(ran.append, "second")),
    ]
    assert began.wait(20)
    places.stop()
    assert not wait_for(ends[1:], 20).not_done
    with pytest.raises(RuntimeError):
        places.submit(Work("c"), lambda: None)
    go.set()
    assert not wait_for(ends, 20).not_done
    assert ran == ["first"]


def test_higher_limit_lets_waiting_work_begin():
    places, both = Places(Limits(1)), threading.Barrier(2, timeout=20)
    ends = [places.submit(Work(place), both.wait) for place in "ab"]
    places.limit(Limits(2))
    assert not wait_for(ends, 20).not_done
    assert [one.exception() for one in ends] == [None, None]
    places.stop()


def _begun(places):
    with places._changed:
        return {turn.work.place for turn in places._begun}


def test_lost_work_is_done_again_within_the_limit_of_its_server(wait):
    places = Places(Limits(1, {"one": 3}))
    done, ends = [], [Future(), Future(), Future()]

    def begin(name):
        done.append(name)
        return ends[len(done) - 1]

    lost = places.submit(Work("a", "one", 2), lambda: begin("a"))
    other = places.submit(Work("b", "one", 1), lambda: begin("b"))
    wait(lambda: done == ["a"])
    ends[0].set_result(False)
    wait(lambda: done == ["a", "a"], what="it is begun again before the other")
    assert _begun(places) == {"a", "again a"}, "the sessions of both count"
    ends[1].set_result(True)
    lost.result(5)
    wait(lambda: done == ["a", "a", "b"])
    ends[2].set_result(True)
    other.result(5)


def test_lost_works_that_had_all_sessions_of_a_server_are_done_again_one_by_one(wait):
    places, ends, begun = Places(Limits(9, {"one": 6})), {}, []

    def begin(name):
        begun.append(name)
        ends[name, begun.count(name)] = Future()
        return ends[name, begun.count(name)]

    works = [places.submit(Work(name, "one", 3), partial(begin, name)) for name in "ab"]
    wait(lambda: sorted(begun) == ["a", "b"])
    for name in "ab":
        ends[name, 1].set_result(False)
    wait(lambda: len(begun) == 3)
    assert len(_begun(places)) == 3, "one more session than the limit at the most"
    ends[begun[2], 2].set_result(True)
    wait(lambda: len(begun) == 4)
    ends[begun[3], 2].set_result(True)
    assert [one.result(5) for one in works] == [None, None]


def test_work_that_is_lost_again_and_again_ends_once(wait):
    places = Places(Limits(2, {"one": 2}))
    ends = [Future() for _ in range(4)]
    begun = []

    def begin():
        begun.append(1)
        return ends[len(begun) - 1]

    work = places.submit(Work("a", "one", 2), begin)
    for number, end in enumerate(ends[:-1], 1):
        wait(lambda count=number: len(begun) == count)
        end.set_result(False)
    wait(lambda: len(begun) == 4)
    assert not work.done()
    ends[-1].set_result(True)
    work.result(5)
    following = places.submit(Work("a", "one", 2), lambda: None)
    following.result(5)


def test_work_begun_elsewhere_counts_until_its_end(wait):
    places, end, done = Places(Limits(1)), Future(), []
    places.adopt(Work("a"), lambda: None, end)
    same = places.submit(Work("a"), lambda: done.append("same"))
    other = places.submit(Work("b"), lambda: done.append("other"))
    assert _begun(places) == {"a"}
    end.set_result(True)
    wait_for({same, other}, 5)
    assert sorted(done) == ["other", "same"]


def test_work_elsewhere_holds_no_thread(wait):
    places, ends = Places(Limits(1000)), []

    def begin():
        ends.append(Future())
        return ends[-1]

    works = [places.submit(Work(f"p{number}"), begin) for number in range(200)]
    wait(lambda: len(ends) == 200)
    for end in ends:
        end.set_result(True)
    assert all(one.result(5) is None for one in works)


def test_work_put_off_elsewhere_leaves_its_turn_but_keeps_its_server(wait):
    places, end, done = Places(Limits(1, {"down": 4})), Future(), []
    off = places.submit(Work("a", "down", 2), lambda: end)
    wait(lambda: _begun(places) == {"a"})
    same = places.submit(Work("b", "down", 2), lambda: done.append("b"))
    other = places.submit(Work("c", "up", 2), lambda: done.append("c"))
    wait(lambda: places._elsewhere)
    places.put_off(end, until_later=True, down=True)
    other.result(5)
    assert done == ["c"], "nothing begins in a server that is down"
    places.put_off(end, until_later=True, down=True)
    places.put_off(end, until_later=False, down=True)
    assert not same.done()
    end.set_result(True)
    off.result(5)
    same.result(5)
    assert done == ["c", "b"]


def test_local_work_of_a_fleet_without_workers_begins():
    places = Places(Limits(0))
    places.submit(Work("host", counts=False), lambda: None).result(5)
    waits = places.submit(Work("a"), lambda: None)
    places.submit(Work("host", counts=False), lambda: None).result(5)
    assert not waits.done()
    places.stop()
    waits.result(5)
