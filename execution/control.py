"""What a step asks between two pieces of its work: may I go on, how fast, and for how long?"""

import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal, TypeVar

from psycopg import errors

from domain.progress import Done
from execution import governor
from execution.progress import Progress
from execution.window import Window

T = TypeVar("T")
Speed = Literal["auto", "gentle", "full"]

RETRYABLE = (errors.LockNotAvailable, errors.DeadlockDetected, errors.SerializationFailure)
ATTEMPTS = 6
FIRST_WAIT_SECONDS = 0.25
SAMPLE_SECONDS = 0.5
HALF = 0.5
"""From half of a limit on, what begins is gentle."""
GENTLE_SHARE, BREATH = 0.1, 4.0
"""A gentle piece takes so little of the time that it may, and leaves the others so many times as long as it took."""


class Halted(Exception):  # noqa: N818 - not a mistake: the step is to end here
    """The step ends now, with what it has done so far; the pace knows why."""


class Stop(StrEnum):
    """Why a step was not begun or not finished though nothing failed."""

    WINDOW = "window_ended"
    THROTTLED = "throttled"
    INTERRUPTED = "interrupted"
    LOST = "lost"
    TOO_LONG = "window_too_small"






@dataclass(frozen=True, slots=True)
class Terms:
    """What binds every step of a run."""

    window: Window
    stop: threading.Event
    sample: Callable[[], governor.Sample]
    limits: governor.Limits
    progress: Progress
    batch_seconds: float = 0.2
    batch_rows: int = 10_000
    patience_seconds: float = 3600.0
    """How long the governor may hold one step before the run is given up as throttled."""
    watch: Callable[[], Mapping[int, Done]] = dict
    """How far the statements in flight are, by the pid of their backend."""
    behind: Callable[[], Mapping[int, str]] = dict
    """Why a backend should give way, by its pid."""
    speed: Speed = "auto"
    beat: Callable[[], object] = lambda: None
    """A sign of life: called every second or so, unless a step has hung."""


class Pace:
    """The terms as one step of at most `limit_seconds` meets them."""

    def __init__(
        self, terms: Terms, limit_seconds: float, number: int = 1, abandoned: threading.Event | None = None
    ) -> None:
        self._terms = terms
        self._abandoned = abandoned or threading.Event()
        self._number = number
        self._ends = time.monotonic() + limit_seconds
        self._waiters = 0
        self._sampled = -SAMPLE_SECONDS
        self.batch_rows = terms.batch_rows
        self.rows = 0
        self.paused: dict[str, float] = {}
        self.stopped: Stop | None = None
        self.yields = False
        """Whether a statement is in flight that we may cancel to spare the others."""
        self.gave_way = ""
        """For whom or what that was done."""

    @property
    def window(self) -> Window:
        """The window that binds this step."""
        return self._terms.window

    @property
    def interrupted(self) -> bool:
        """Whether all is to stop."""
        return self._terms.stop.is_set()

    def remaining_seconds(self) -> float:
        """Return the seconds that a statement begun now may take: more than zero, or Halted."""
        left = min(self._ends - time.monotonic(), self._terms.window.left())
        if left <= 0:
            self._halt(Stop.WINDOW)
        return left

    def proceed(self) -> None:
        """Wait while the governor pauses. Halted: a stop, the end of the window, the end of our patience."""
        began = time.monotonic()
        while True:
            if self._terms.stop.is_set() or self._abandoned.is_set():
                self._halt(Stop.INTERRUPTED)
            self.remaining_seconds()
            reason = self._hold()
            if reason is None:
                self._terms.progress.hold(self._number, "")
                return
            if time.monotonic() - began > self._terms.patience_seconds:
                self._halt(Stop.THROTTLED)
            self._pause(reason)

    def gentle(self, own: Speed | None = None) -> bool:
        """Say whether a statement that begins now is to spare the others: asked for, or they are at work."""
        speed = own or self._terms.speed
        if speed != "auto":
            return speed == "gentle"
        sample = self._terms.sample()
        return sample.active > 0 or any(one.times >= HALF for one in governor.pressures(sample, self._terms.limits))

    def batch_seconds(self) -> float:
        """Return how long one batch should take."""
        return self._terms.batch_seconds * (GENTLE_SHARE if self.gentle() else 1.0)

    def breathe(self, seconds: float) -> None:
        """Leave the others some times as long as the last piece took, where they are to be spared."""
        if self.gentle():
            self._terms.stop.wait(min(BREATH * seconds, self.remaining_seconds()))

    def attempt(self, piece: Callable[[], T]) -> T:
        """Do a piece that leaves nothing behind when it fails; again, with back-off, when a lock was not to be had."""
        for attempt in range(1, ATTEMPTS):
            try:
                return piece()
            except RETRYABLE:
                self._terms.stop.wait(FIRST_WAIT_SECONDS * 2 ** (attempt - 1) * random.uniform(0.8, 1.2))  # noqa: S311
                self.proceed()
        return piece()

    def overdue(self, seconds: float) -> bool:
        """Say whether the step is so long over its limit, pauses not counted."""
        return time.monotonic() > self._ends + seconds

    def waiters(self, count: int) -> None:
        """Tell how many sessions waited for a lock of ours at the end of the last piece."""
        self._waiters = count

    def advance(self, rows: int, total: int) -> None:
        """Tell how far the step is, of an estimated total (0: unknown)."""
        self.rows = rows
        self._terms.progress.advance(self._number, Done(rows, total))

    def _hold(self) -> str | None:
        """Ask the governor; what was seen half a second ago still holds, but a waiter is always heard."""
        if self._waiters == 0 and time.monotonic() - self._sampled < SAMPLE_SECONDS:
            return None
        sample = replace(self._terms.sample(), lock_waiters=self._waiters)
        self._waiters = 0
        self._sampled = time.monotonic()
        return governor.hold(sample, self._terms.limits)

    def _pause(self, reason: str) -> None:
        began = time.monotonic()
        self._terms.progress.hold(self._number, reason)
        self._terms.stop.wait(min(1.0, self.remaining_seconds()))
        self._sampled = -SAMPLE_SECONDS
        waited = time.monotonic() - began
        self.paused[reason] = self.paused.get(reason, 0.0) + waited
        self._ends += waited

    def _halt(self, stop: Stop) -> None:
        self.stopped = stop
        raise Halted
