"""Wakes threads of this process that wait for a commit."""

import threading


class Wakeup:
    """Counts its rings, so that none between a check and the following wait is missed."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._times = 0

    @property
    def times(self) -> int:
        """Return the number of rings so far."""
        with self._condition:
            return self._times

    def ring(self) -> None:
        """Wake the waiting threads."""
        with self._condition:
            self._times += 1
            self._condition.notify_all()

    def wait(self, seen: int, seconds: float) -> None:
        """Wait for more than `heard` rings, at most `seconds`."""
        with self._condition:
            self._condition.wait_for(lambda: self._times != seen, seconds)
