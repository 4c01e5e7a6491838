"""Values that the threads of a process share for a moment: one thread reads for all."""

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

T = TypeVar("T")
SHARED_SECONDS = 0.25
PATIENCE_SECONDS = 1.0


@dataclass(slots=True)
class _Slot:
    guard: threading.Lock = field(default_factory=threading.Lock)
    value: Any = None
    read_at: float = float("-inf")
    failed_at: float = float("-inf")

    def current(self, asked_at: float, read: Callable[[], T]) -> T:
        """Return the value, or read it anew if it is old; the caller holds the guard."""
        began = time.monotonic()
        if self.read_at < asked_at and began - self.read_at >= SHARED_SECONDS:
            try:
                self.value = read()
            except BaseException:
                self.failed_at = time.monotonic()
                raise
            self.read_at = began
        return cast("T", self.value)


class RecentValues:
    """Keeps the last value of each key."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._slots: dict[Hashable, _Slot] = {}

    def get(self, key: Hashable, read: Callable[[], T]) -> T:
        """Return the value of a key, at most SHARED_SECONDS old when this is called.

        One thread reads it anew while the others wait. They read by themselves if that fails or
        takes longer than PATIENCE_SECONDS. Raises what `read` raises.
        """
        with self._guard:
            slot = self._slots.setdefault(key, _Slot())
        asked_at = time.monotonic()
        if slot.guard.acquire(timeout=PATIENCE_SECONDS):
            try:
                if slot.failed_at < asked_at:
                    return slot.current(asked_at, read)
            finally:
                slot.guard.release()
        return read()
