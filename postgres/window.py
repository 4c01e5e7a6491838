"""The time a run may use. Measured on the monotonic clock, so that a stepped wall clock changes nothing."""

import time
from collections.abc import Callable
from dataclasses import dataclass

UNLIMITED = float("inf")


@dataclass(frozen=True, slots=True)
class Window:
    """A span that ends `closes` seconds on the clock that `now` reads."""

    closes: float = UNLIMITED
    now: Callable[[], float] = time.monotonic

    def left(self) -> float:
        """Return the seconds left, never below zero."""
        return max(0.0, self.closes - self.now())

    def fits(self, predicted_seconds: float) -> bool:
        """Say whether work of that length can be begun; work of unknown length (0) fits any open window."""
        left = self.left()
        return left > 0 and predicted_seconds <= left


def opens_for(seconds: float | None, now: Callable[[], float] = time.monotonic) -> Window:
    """Return a window of that many seconds from now; None never closes."""
    return Window(UNLIMITED if seconds is None else now() + seconds, now)
