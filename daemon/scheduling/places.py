"""Works run in places, within the limits of `daemon.scheduling.admission`.

A work runs in a thread of one pool, or only begins there and is then done elsewhere.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

from daemon.scheduling.admission import Limits, Work, admissible

THREADS = 48
"""More than may work at once, for those that wait for a server."""

BEAT_SECONDS = 60.0
MOST_URGENT = 1000
"""The priority of what goes before all others; those of databases end at 100."""

Elsewhere = Future[bool]
"""The end of a work that is done elsewhere: True, or False if whoever did it is lost."""
Do = Callable[[], "Elsewhere | None"]
"""Does a work; or begins it elsewhere, and may then be called again if it is lost there."""


@dataclass(frozen=True, slots=True, eq=False)
class _Turn:
    work: Work
    do: Do
    ended: "Future[None]" = field(default_factory=Future)


class Places:
    """Begins work in the order in which it came, as far as its place and the limits allow."""

    def __init__(self, limits: Limits) -> None:
        self._limits, self._stopped = limits, False
        self._waiting: list[_Turn] = []
        self._begun: list[_Turn] = []
        self._aside: dict[_Turn, bool] = {}
        self._returning: list[_Turn] = []
        self._elsewhere: dict[_Turn, Elsewhere] = {}
        self._lost: set[_Turn] = set()
        self._current = threading.local()
        self._changed = threading.Condition()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="place")

    def limit(self, limits: Limits) -> None:
        """Use other limits from now on; what has begun goes on."""
        with self._changed:
            self._limits = self._limits.renewed(limits)
            self._admit()
            self._changed.notify_all()

    def submit(self, work: Work, do: Do) -> "Future[None]":
        """Return the end of some work. Raises RuntimeError after `stop`."""
        turn = _Turn(work, do)
        with self._changed:
            if self._stopped:
                raise RuntimeError("nothing begins any more")
            self._waiting.append(turn)
            self._admit()
        return turn.ended

    def adopt(self, work: Work, do: Do, elsewhere: Elsewhere) -> None:
        """Count a work that was begun elsewhere before this began; `do` is called if it is lost."""
        turn = _Turn(work, do)
        with self._changed:
            self._begun.append(turn)
            self._elsewhere[turn] = elsewhere
        elsewhere.add_done_callback(partial(self._end, turn))

    def put_off(self, elsewhere: Elsewhere, *, until_later: bool, down: bool) -> None:
        """Let a work that was begun elsewhere leave its turn until later, or have it again.

        If its whole server is `down`, nothing else begins there meanwhile. It comes back without a
        turn.
        """
        with self._changed:
            turns = [turn for turn, end in self._elsewhere.items() if end is elsewhere]
            changed = [turn for turn in turns if (turn in self._aside) != until_later]
            for turn in changed:
                if until_later:
                    self._aside[turn] = down
                else:
                    del self._aside[turn]
            if changed:
                self._admit()

    @contextmanager
    def aside(self, beat: Callable[[], object], *, down: bool) -> Iterator[None]:
        """Leave the turn of the calling work to another for the body, and wait for one after it.

        `beat` tells the watchdog meanwhile that it lives. The work has no session in the body. If
        its whole server is `down`, nothing else begins there meanwhile.
        """
        turn: _Turn = self._current.turn
        with self._changed:
            self._aside[turn] = down
            self._admit()
        try:
            yield
        finally:
            with self._changed:
                self._returning.append(turn)  # before what has not begun
                while not self._changed.wait_for(partial(self._may_return, turn), BEAT_SECONDS):
                    beat()
                self._returning.remove(turn)
                del self._aside[turn]
                self._admit()
                self._changed.notify_all()

    def stop(self) -> None:
        """Begin nothing more: what waits ends without having begun."""
        with self._changed:
            self._stopped = True
            waiting = list(self._waiting)
            self._waiting.clear()
            for turn in waiting:
                turn.ended.set_result(None)
            self._changed.notify_all()
        self._pool.shutdown(wait=False)

    def _may_return(self, turn: _Turn) -> bool:
        before = self._returning[: self._returning.index(turn)]
        working = [*self._working(), *(one.work for one in before)]
        return self._stopped or bool(admissible([turn.work], (), working, self._limits))

    def _working(self) -> list[Work]:
        return [
            replace(turn.work, counts=False, lost=True) if turn in self._lost else turn.work
            for turn in self._begun
            if turn not in self._aside
        ]

    def _silent(self) -> set[str]:
        """Return the addresses in which nothing begins now.

        Those of servers that are down; of the others that refuse work only while threads are left.
        """
        here = self._aside.keys() - self._elsewhere.keys()
        few = len(here) >= max(1, THREADS - self._limits.at_once)
        silent = {turn for turn, down in self._aside.items() if down or (few and turn in here)}
        return {turn.work.server for turn in silent} - {""}

    def _admit(self) -> None:
        room = THREADS - (len(self._begun) - len(self._elsewhere))
        busy = {turn.work.place for turn in self._begun}
        working = [*self._working(), *(turn.work for turn in self._returning)]
        waiting = [turn.work for turn in self._waiting]
        begins = admissible(waiting, busy, working, self._limits, self._silent())
        turns = [self._waiting[position] for position in begins[:room]]
        for turn in turns:
            self._waiting.remove(turn)
            self._begun.append(turn)
        for turn in turns:
            self._pool.submit(self._do, turn).add_done_callback(partial(self._end, turn))

    def _do(self, turn: _Turn) -> "Elsewhere | None":
        self._current.turn = turn
        return turn.do()

    def _end(self, turn: _Turn, ran: "Future[Elsewhere | None] | Elsewhere") -> None:
        problem = ran.exception()
        result = None if problem is not None else ran.result()
        if isinstance(result, Future):
            with self._changed:
                self._elsewhere[turn] = result
                self._admit()
            result.add_done_callback(partial(self._end, turn))
            return
        with self._changed:
            if result is False and not self._stopped:
                self._do_again(turn)
                return
            self._begun.remove(turn)
            self._elsewhere.pop(turn, None)
            self._aside.pop(turn, None)
            self._lost.discard(turn)
            if not self._stopped:
                self._admit()
            self._changed.notify_all()
        if problem is not None:
            turn.ended.set_exception(problem)
        else:
            turn.ended.set_result(None)

    def _do_again(self, turn: _Turn) -> None:
        """Begin a lost work again, in turn; its former worker may still have sessions.

        What begins again waits in one session for the lock of the other; it takes more only when
        the other has ended.
        """
        self._lost.add(turn)
        self._aside.pop(turn, None)
        place, sessions = f"again {turn.work.place}", min(1, turn.work.sessions)
        work = replace(turn.work, place=place, sessions=sessions, priority=MOST_URGENT, again=True)
        follower = _Turn(work, turn.do)
        self._waiting.append(follower)
        done: Elsewhere = Future()
        follower.ended.add_done_callback(lambda _: done.set_result(True))
        done.add_done_callback(partial(self._end, turn))
        self._admit()
