"""The fleet as the service and its dispatcher see it: work is handed out, and may come back."""

from collections.abc import Iterable, Sequence
from typing import Protocol

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

    @property
    def displaced(self) -> str:
        """Return that another process leads now; empty if not."""

    def close(self) -> None:
        """End all ends: another process goes on."""


class Admission(Protocol):
    """The limits for beginning work, and the work that counts for them."""

    def renew_limits(self) -> None:
        """Use the limits of the servers and workers as they are now. Raises StoreError."""

    def put_off(self, end: Elsewhere, *, until_later: bool, down: bool) -> None:
        """Let a work leave its place to others until later, or have it again.

        Nothing else begins in a server that is `down`.
        """
