"""Rate limits of channels: configured, and learned from their answers."""

import time
from dataclasses import dataclass

from alerts.channels.channel import DeliveryError, Failure

LEARNT_SECONDS = 600.0
"""A learned limit holds this long."""
LONGEST_SECONDS = 30.0
AFTER_FAILURE_SECONDS = 15.0
"""A failing channel is tried again after this time at the latest."""


@dataclass(slots=True)
class RateLimit:
    """The limit of one channel; used by its worker alone."""

    interval_seconds: float = 0.0
    _learnt_seconds: float = 0.0
    _learnt_until: float = 0.0
    _not_before: float = 0.0
    _refreshes_at: float = 0.0

    def pause(self) -> float:
        """Return the seconds until the next message may be sent."""
        return max(0.0, self._not_before - time.monotonic())

    def refreshes(self, every_seconds: float) -> bool:
        """Return whether open alerts are due to be sent again."""
        moment = time.monotonic()
        if moment < self._refreshes_at:
            return False
        self._refreshes_at = moment + every_seconds
        return True

    def delivered(self) -> None:
        """Record a delivery."""
        moment = time.monotonic()
        self._not_before = moment + max(self.interval_seconds, self._learnt(moment))

    def failed(self, error: DeliveryError, wait_seconds: float) -> None:
        """Record a failure: nothing is sent for the requested time, or a while."""
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
        if moment < self._learnt_until:
            return self._learnt_seconds
        return 0.0
