"""Runs work in places: one at a time in each, and at most some at once, in one pool of threads."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from daemon.scheduling.admission import admissible

THREADS = 48
"""More than may work at once, for those that wait for a server."""

BEAT_SECONDS = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class _Turn:
    place: str
    work: Callable[[], None]
    ended: "Future[None]" = field(default_factory=Future)


class Places:
    """Begins work in the order in which it came, as far as its place and the limit allow."""

    def __init__(self, at_once: int) -> None:
        self._at_once, self._stopped = at_once, False
        self._aside = self._returning = 0
        self._waiting: list[_Turn] = []
        self._busy: set[str] = set()
        self._changed = threading.Condition()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="place")

    def limit(self, at_once: int) -> None:
        """Use another limit from now on; what has begun goes on."""
        with self._changed:
            self._at_once = at_once
            self._admit()

    def submit(self, place: str, work: Callable[[], None]) -> "Future[None]":
        """Return the end of some work. Raises RuntimeError after `stop`."""
        turn = _Turn(place, work)
        with self._changed:
            if self._stopped:
                raise RuntimeError("nothing begins any more")
            self._waiting.append(turn)
            self._admit()
        return turn.ended

    @contextmanager
    def aside(self, beat: Callable[[], object]) -> Iterator[None]:
        """Leave the turn of the calling work to another for the body, and wait for one after it.

        `beat` tells the watchdog meanwhile that it lives.
        """
        with self._changed:
            self._aside += 1
            self._admit()
        try:
            yield
        finally:
            with self._changed:
                self._returning += 1  # before what has not begun
                while not self._changed.wait_for(self._has_room, BEAT_SECONDS):
                    beat()
                self._returning -= 1
                self._aside -= 1

    def stop(self) -> None:
        """Begin nothing more: what waits ends without having begun."""
        with self._changed:
            self._stopped = True
            for turn in self._waiting:
                turn.ended.set_result(None)
            self._waiting.clear()
            self._changed.notify_all()
        self._pool.shutdown(wait=False)

    def _has_room(self) -> bool:
        return self._stopped or self._working < self._at_once

    @property
    def _working(self) -> int:
        return len(self._busy) - self._aside

    def _admit(self) -> None:
        room = THREADS - len(self._busy)
        waiting = [turn.place for turn in self._waiting]
        working = self._working + self._returning
        chosen = admissible(waiting, self._busy, working, self._at_once)[:room]
        turns = [self._waiting[position] for position in chosen]
        for turn in turns:
            self._waiting.remove(turn)
            self._busy.add(turn.place)
        for turn in turns:
            self._pool.submit(turn.work).add_done_callback(partial(self._end, turn))

    def _end(self, turn: _Turn, ran: "Future[None]") -> None:
        with self._changed:
            self._busy.discard(turn.place)
            if not self._stopped:
                self._admit()
            self._changed.notify_all()
        problem = ran.exception()
        if problem is not None:
            turn.ended.set_exception(problem)
        else:
            turn.ended.set_result(None)
