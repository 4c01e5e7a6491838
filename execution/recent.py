"""Values that the threads of a process share for a moment, so that each is read once for all."""

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

T = TypeVar("T")
SHARED_SECONDS = 0.25


@dataclass(slots=True)
class _Slot:
    guard: threading.Lock = field(default_factory=threading.Lock)
    value: Any = None
    at: float = float("-inf")


class RecentValues:
    """Keeps the last value of each key."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._slots: dict[Hashable, _Slot] = {}

    def get(self, key: Hashable, read: Callable[[], T]) -> T:
        """Return the value of a key, at most a quarter of a second old.

        One thread reads it anew while the others wait. Raises what `read` raises; then the next
        thread tries.
        """
        with self._guard:
            slot = self._slots.setdefault(key, _Slot())
        with slot.guard:
            if time.monotonic() - slot.at >= SHARED_SECONDS:
                slot.value, slot.at = read(), time.monotonic()
            return cast("T", slot.value)
