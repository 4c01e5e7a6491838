"""The time a run may use, on a clock that nobody sets, and that goes on while the machine sleeps."""

import time
from collections.abc import Callable
from dataclasses import dataclass

UNLIMITED = float("inf")


def _clock() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class Window:
    """A span that ends `closes` seconds on the clock that `now` reads."""

    closes: float = UNLIMITED
    length: float = UNLIMITED
    """Of the whole window, in seconds."""
    now: Callable[[], float] = _clock

    def left(self) -> float:
        """Return the seconds left, never below zero."""
        return max(0.0, self.closes - self.now())


def opens_for(seconds: float | None, of: float | None = None, now: Callable[[], float] = _clock) -> Window:
    """Return a window of that many seconds from now (None never closes), which are the rest `of` a whole one."""
    left = UNLIMITED if seconds is None else seconds
    return Window(now() + left, of or left, now)
