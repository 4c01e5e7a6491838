"""Liveness deadlines of the service's threads, for systemd's watchdog, /healthz and heartbeats."""

import threading
import time
from collections.abc import Callable


class Watchdog:
    """Tracks the deadlines by which threads have to report, on the monotonic clock."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._due: dict[str, float] = {}
        self._guard = threading.Lock()

    def beat(self, name: str, within_seconds: float) -> None:
        """Report that a thread is alive and will report again within the given time."""
        with self._guard:
            self._due[name] = self._now() + within_seconds

    def end(self, name: str) -> None:
        """Stop expecting reports of a thread."""
        with self._guard:
            self._due.pop(name, None)

    def silent(self) -> str:
        """Return the thread that is most over its deadline, with the delay; empty if none is."""
        with self._guard:
            late = [(due, name) for name, due in self._due.items() if due < self._now()]
        if not late:
            return ""
        due, name = min(late)
        return f"no heartbeat from {name} for {self._now() - due:.0f} s longer than expected"
