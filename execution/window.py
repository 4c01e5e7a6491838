"""The time window of a run, on a clock that cannot be set and that counts suspended time."""

import time
from collections.abc import Callable
from dataclasses import dataclass

UNLIMITED = float("inf")


def _clock() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class Window:
    """A span that ends when `now()` reaches `closes`, in seconds."""

    closes: float = UNLIMITED
    length: float = UNLIMITED
    """Length of the whole window in seconds."""
    now: Callable[[], float] = _clock

    def left(self) -> float:
        """Return the seconds left, never below zero."""
        return max(0.0, self.closes - self.now())


def open_window(
    seconds: float | None, of: float | None = None, now: Callable[[], float] = _clock
) -> Window:
    """Return a window of `seconds` from now, the rest of one of `of`; with None it never closes."""
    left = UNLIMITED if seconds is None else seconds
    return Window(now() + left, of or left, now)
