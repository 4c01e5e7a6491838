"""Works run in places, within the limits of `daemon.scheduling.admission`, in one thread pool."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from daemon.scheduling.admission import Limits, Work, admissible

THREADS = 48
"""More than may work at once, for those that wait for a server."""

BEAT_SECONDS = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class _Turn:
    work: Work
    do: Callable[[], None]
    ended: "Future[None]" = field(default_factory=Future)


class Places:
    """Begins work in the order in which it came, as far as its place and the limits allow."""

    def __init__(self, limits: Limits) -> None:
        self._limits, self._stopped = limits, False
        self._waiting: list[_Turn] = []
        self._begun: list[_Turn] = []
        self._aside: dict[_Turn, bool] = {}
        self._returning: list[_Turn] = []
        self._current = threading.local()
        self._changed = threading.Condition()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="place")

    def limit(self, limits: Limits) -> None:
        """Use other limits from now on; what has begun goes on."""
        with self._changed:
            self._limits = self._limits.renewed(limits)
            self._admit()
            self._changed.notify_all()

    def submit(self, work: Work, do: Callable[[], None]) -> "Future[None]":
        """Return the end of some work. Raises RuntimeError after `stop`."""
        turn = _Turn(work, do)
        with self._changed:
            if self._stopped:
                raise RuntimeError("nothing begins any more")
            self._waiting.append(turn)
            self._admit()
        return turn.ended

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
            for turn in self._waiting:
                turn.ended.set_result(None)
            self._waiting.clear()
            self._changed.notify_all()
        self._pool.shutdown(wait=False)

    def _may_return(self, turn: _Turn) -> bool:
        before = self._returning[: self._returning.index(turn)]
        working = [*self._working(), *(one.work for one in before)]
        return self._stopped or bool(admissible([turn.work], (), working, self._limits))

    def _working(self) -> list[Work]:
        return [turn.work for turn in self._begun if turn not in self._aside]

    def _silent(self) -> set[str]:
        """Return the addresses in which nothing begins now.

        Those of servers that are down; of the others that refuse work only while threads are left.
        """
        few = len(self._aside) >= THREADS - self._limits.at_once
        return {turn.work.server for turn, down in self._aside.items() if down or few} - {""}

    def _admit(self) -> None:
        room = THREADS - len(self._begun)
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

    def _do(self, turn: _Turn) -> None:
        self._current.turn = turn
        turn.do()

    def _end(self, turn: _Turn, ran: "Future[None]") -> None:
        with self._changed:
            self._begun.remove(turn)
            if not self._stopped:
                self._admit()
            self._changed.notify_all()
        problem = ran.exception()
        if problem is not None:
            turn.ended.set_exception(problem)
        else:
            turn.ended.set_result(None)
