"""The tries of a lock that other sessions queue behind: short, with growing pauses. Pure.

While a request for a strong lock waits, every later request on the table waits behind it. So each
try is bounded by a rung of the ladder, and the pauses between tries belong to the others. A rung
below half of `deadlock_timeout` makes no other session the victim of a deadlock (manual, 13.3.4).
"""

from dataclasses import dataclass

RUNGS = (100, 200, 300)
"""Milliseconds that the first, second and every later try may wait for all of its locks."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 60.0
AUTOVACUUM_EXTRA_MILLISECONDS = 200
"""The server cancels an autovacuum for a waiter after `deadlock_timeout`."""
LEAST_MILLISECONDS = 10


@dataclass(frozen=True, slots=True)
class Ladder:
    """The rungs on a server with a `deadlock_timeout`, and the time for all tries together."""

    deadlock_milliseconds: int = 1000
    budget_seconds: float = 600.0

    def rung(self, attempt: int) -> int:
        """Return the milliseconds of a try, counted from 1."""
        below = max(LEAST_MILLISECONDS, self.deadlock_milliseconds // 2 - 1)
        return min(below, RUNGS[min(attempt, len(RUNGS)) - 1])

    def pause(self, attempt: int) -> float:
        """Return the seconds to wait after a try."""
        return float(min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(attempt - 1, 10)))

    def displacing(self) -> int:
        """Return the milliseconds of the only try that may displace an autovacuum."""
        return self.deadlock_milliseconds + AUTOVACUUM_EXTRA_MILLISECONDS
