"""How fast a channel may be spoken to: its own known limit, and what it has shown by asking us to wait."""

import time
from dataclasses import dataclass

from alerts.channels.channel import DeliveryError, Failure

LEARNT_SECONDS = 600.0
"""A limit that was met is kept to for so long."""
LONGEST_SECONDS = 30.0
AFTER_FAILURE_SECONDS = 15.0
"""A channel that fails is tried again after this at the latest: it may be one message that it cannot take."""


@dataclass(slots=True)
class Rhythm:
    """One channel's. Used by its worker alone."""

    interval_seconds: float = 0.0
    _learnt_seconds: float = 0.0
    _learnt_until: float = 0.0
    _not_before: float = 0.0
    _refreshes_at: float = 0.0

    def pause(self) -> float:
        """Return for how many seconds nothing is to be sent."""
        return max(0.0, self._not_before - time.monotonic())

    def refreshes(self, every_seconds: float) -> bool:
        """Say whether it is time to say again what is still so."""
        moment = time.monotonic()
        if moment < self._refreshes_at:
            return False
        self._refreshes_at = moment + every_seconds
        return True

    def delivered(self) -> None:
        """It took a message: the next one keeps its distance."""
        moment = time.monotonic()
        self._not_before = moment + max(self.interval_seconds, self._learnt(moment))

    def failed(self, error: DeliveryError, wait_seconds: float) -> None:
        """It did not: nothing at all goes there for as long as it asked, or for a while."""
        moment = time.monotonic()
        if error.failure is Failure.THROTTLED:
            asked = error.retry_after_seconds or 1.0
            self._learnt_seconds = min(LONGEST_SECONDS, max(asked, self._learnt(moment)))
            self._learnt_until = moment + LEARNT_SECONDS
            self._not_before = moment + wait_seconds
        elif error.failure is not Failure.PERMANENT:
            self._not_before = moment + min(AFTER_FAILURE_SECONDS, wait_seconds)
        else:
            self.delivered()

    def _learnt(self, moment: float) -> float:
        return self._learnt_seconds if moment < self._learnt_until else 0.0
