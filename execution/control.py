"""Limits of a run, and the control that a step consults between two pieces of its work."""

import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal, TypeVar

from psycopg import errors

from domain.progress import LockTry, StepProgress
from execution import governor
from execution.progress import Progress
from execution.window import Window
from postgres.session import Query, Rows

T = TypeVar("T")
Speed = Literal["auto", "gentle", "full"]

RETRYABLE = (errors.LockNotAvailable, errors.DeadlockDetected, errors.SerializationFailure)
MOST_ATTEMPTS = 6
FIRST_WAIT_SECONDS = 0.25
SAMPLE_SECONDS = 0.5
GENTLE_FROM = 0.5
"""A pressure of this share of a signal's limit makes new work gentle."""
GENTLE_SHARE, REST_FACTOR = 0.1, 4.0
"""Gentle work takes this share of a batch's time, and rests this many times as long as a piece
took."""


class Halted(Exception):  # noqa: N818 - control flow: the step ends here
    """Raised to end a step with the work done so far; `StepControl.stopped` holds the reason."""


class Stop(StrEnum):
    """The reason why a step did not begin or finish although nothing failed."""

    WINDOW = "window_ended"
    THROTTLED = "throttled"
    INTERRUPTED = "interrupted"
    LOST = "lost"
    TOO_LONG = "window_too_small"


@dataclass(frozen=True, slots=True)
class RunLimits:
    """The limits of all steps of a run."""

    window: Window
    stop: threading.Event
    sample: Callable[[], governor.Sample]
    limits: governor.Limits
    progress: Progress
    orders: Callable[[], governor.Sample]
    """Returns only what an operator has ordered; it pauses also what load does not pause."""
    batch_seconds: float = 0.2
    batch_rows: int = 10_000
    patience_seconds: float = 3600.0
    """The longest pause of one step before the run ends as throttled."""
    read_progress: Callable[[], Mapping[int, StepProgress]] = dict
    """Returns the progress of statements in flight by backend pid."""
    waiters_behind: Callable[[], Mapping[int, str]] = dict
    """Returns, by backend pid, the session that waits behind it."""
    look: Callable[[Query, Mapping[str, object]], Rows] | None = None
    """Runs a query in the session of `maintain`, which sees what other sessions do."""
    speed: Speed = "auto"
    beat: Callable[[], object] = lambda: None
    """Called about once a second while no step has hung; feeds the watchdog."""


class StepControl:
    """The limits of a run applied to one step of at most `limit_seconds`."""

    def __init__(
        self,
        terms: RunLimits,
        limit_seconds: float,
        number: int = 1,
        abandoned: threading.Event | None = None,
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
        self.cancellable = False
        """Whether a statement is in flight that may be cancelled in favour of others."""
        self.yielded_to = ""
        """The session or signal in whose favour the statement was cancelled."""

    @property
    def window(self) -> Window:
        """Return the window of this step."""
        return self._terms.window

    @property
    def interrupted(self) -> bool:
        """Return whether the run has been told to stop."""
        return self._terms.stop.is_set()

    def remaining_seconds(self) -> float:
        """Return the seconds left for a statement beginning now. Raises Halted if none are left."""
        left = min(self._ends - time.monotonic(), self._terms.window.left())
        if left <= 0:
            self._halt(Stop.WINDOW)
        return left

    def wait_while_paused(self) -> None:
        """Wait while the governor pauses.

        Raises Halted on stop, end of window or exhausted patience.
        """
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

    def cancel_reason(self) -> str | None:
        """Return the signal in whose favour a statement in flight is to be cancelled, or None."""
        return governor.cancel_reason(self._terms.sample(), self._terms.limits)

    def gentle(self, own: Speed | None = None) -> bool:
        """Return whether work that begins now has to spare other sessions.

        Configured, or they are active.
        """
        speed = own or self._terms.speed
        if speed != "auto":
            return speed == "gentle"
        sample = self._terms.sample()
        return sample.active > 0 or any(
            one.times >= GENTLE_FROM for one in governor.pressures(sample, self._terms.limits)
        )

    def batch_seconds(self) -> float:
        """Return the target duration of one batch."""
        return self._terms.batch_seconds * (GENTLE_SHARE if self.gentle() else 1.0)

    def rest(self, seconds: float) -> None:
        """Rest several times as long as the last piece took, if work has to be gentle."""
        if self.gentle():
            self._terms.stop.wait(min(REST_FACTOR * seconds, self.remaining_seconds()))

    def attempt(self, piece: Callable[[], T]) -> T:
        """Run a piece of work that has no effect when it fails.

        Retry lock and serialization failures. Retries wait exponentially longer with jitter; the
        last error is raised.
        """
        for attempt in range(1, MOST_ATTEMPTS):
            try:
                return piece()
            except RETRYABLE:
                self._terms.stop.wait(
                    FIRST_WAIT_SECONDS * 2 ** (attempt - 1) * random.uniform(0.8, 1.2)  # noqa: S311
                )
                self.wait_while_paused()
        return piece()

    def pause(self, seconds: float, reason: str) -> None:
        """Wait at the step's own wish, with its reason shown. Raises Halted."""
        self._terms.progress.hold(self._number, reason)
        self._terms.stop.wait(min(seconds, self.remaining_seconds()))
        self._terms.progress.hold(self._number, "")
        if self._terms.stop.is_set() or self._abandoned.is_set():
            self._halt(Stop.INTERRUPTED)

    def look(self, query: Query, parameters: Mapping[str, object]) -> Rows:
        """Run a query of the catalog in the session of `maintain`."""
        if self._terms.look is None:
            raise TypeError("this run has no session of maintain")
        return self._terms.look(query, parameters)

    def is_overdue(self, seconds: float) -> bool:
        """Return whether the step exceeds its limit by `seconds`, pauses not counted."""
        return time.monotonic() > self._ends + seconds

    def waiters(self, count: int) -> None:
        """Record how many sessions waited for our locks at the end of the last piece."""
        self._waiters = count

    def advance(self, rows: int, total: int, batch: int = 0) -> None:
        """Report the step's progress; a total of 0 is unknown."""
        self.rows = rows
        self._terms.progress.advance(self._number, StepProgress(rows, total, batch=batch))

    def locking(self, attempt: LockTry) -> None:
        """Report a try to get locks."""
        self._terms.progress.locking(self._number, attempt)

    def _hold(self) -> str | None:
        """Return the governor's reason to pause.

        Samples are reused for half a second, lock waiters are not.
        """
        if self._waiters == 0 and time.monotonic() - self._sampled < SAMPLE_SECONDS:
            return None
        sample = replace(self._terms.sample(), lock_waiters=self._waiters)
        self._waiters = 0
        self._sampled = time.monotonic()
        return governor.pause_reason(sample, self._terms.limits)

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
