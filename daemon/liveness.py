"""Who has to give a sign of life, and who has not: what the watchdog, /healthz and the heartbeat ask."""

import threading
import time
from collections.abc import Callable


class Pulse:
    """Signs of life of loops in other threads, on the monotonic clock."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._due: dict[str, float] = {}
        self._guard = threading.Lock()

    def beat(self, name: str, within_seconds: float) -> None:
        """Say that a loop goes on, and will say so again within that time."""
        with self._guard:
            self._due[name] = self._now() + within_seconds

    def end(self, name: str) -> None:
        """Say that a loop has ended, and nothing more is to be expected of it."""
        with self._guard:
            self._due.pop(name, None)

    def silent(self) -> str:
        """Name the one that has been silent for longest over its time; nothing if all is well."""
        with self._guard:
            late = [(due, name) for name, due in self._due.items() if due < self._now()]
        return f"{min(late)[1]} stands still" if late else ""
