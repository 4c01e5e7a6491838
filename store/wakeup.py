"""A bell for the threads of this process: something was committed that somebody waits for."""

import threading


class Bell:
    """Counts how often it has rung, so that nobody misses it between a look and the wait after it."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._times = 0

    @property
    def times(self) -> int:
        """How often it has rung."""
        with self._condition:
            return self._times

    def ring(self) -> None:
        """Wake those who wait."""
        with self._condition:
            self._times += 1
            self._condition.notify_all()

    def wait(self, heard: int, seconds: float) -> None:
        """Wait until it has rung more than `heard` times, or so long."""
        with self._condition:
            self._condition.wait_for(lambda: self._times != heard, seconds)
