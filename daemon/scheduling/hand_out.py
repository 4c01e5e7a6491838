"""The fleet as the service and its dispatcher see it: work is handed out, and may come back."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from daemon.context import Context
from daemon.liveness import Watchdog
from daemon.scheduling.places import Elsewhere
from domain.task import Task
from execution.window import Window


class HandOut(Protocol):
    """Hands the tasks of databases to the workers of a fleet."""

    @property
    def at_once(self) -> int:
        """Return how many databases they work on at once."""

    def adopt(self) -> Iterable[tuple[Sequence[Task], Window, Elsewhere]]:
        """Return the work of a former leader, each with its end. Raises StoreError."""

    def offer(self, tasks: Sequence[Task], window: Window) -> Elsewhere | None:
        """Hand out tasks of one database; return their end. None if that cannot be done now."""

    def close(self) -> None:
        """End all ends: another process goes on."""


class Membership(Protocol):
    """The place of a service in a fleet that it leads."""

    watchdog: Watchdog

    @property
    def hand_out(self) -> HandOut:
        """Return the way to the workers."""

    def begin(self, context: Context, changed: Callable[[], None]) -> None:
        """Look after the workers from now on; `changed` is called when their number changes."""

    def use(self, context: Context) -> None:
        """Use another configuration from now on."""

    def resigns(self) -> bool:
        """Return whether another worker is to lead."""
