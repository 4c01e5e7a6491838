"""Progress of a run's steps, as reported to a terminal or to nobody."""

from typing import Protocol

from domain.progress import Done


class Progress(Protocol):
    """Whoever wants to see the work go on. Steps are told apart by their number; several may be in progress."""

    def begin(self, number: int, of: int, title: str) -> None:
        """Step `number` of so many begins."""

    def advance(self, number: int, done: Done) -> None:
        """The step is so far."""

    def hold(self, number: int, reason: str) -> None:
        """The governor pauses the step, or (empty) lets it go."""

    def end(self, number: int, status: str, reason: str) -> None:
        """The step has ended."""


class NoProgress:
    """The service: the history tells."""

    def begin(self, number: int, of: int, title: str) -> None:
        """Nothing."""

    def advance(self, number: int, done: Done) -> None:
        """Nothing."""

    def hold(self, number: int, reason: str) -> None:
        """Nothing."""

    def end(self, number: int, status: str, reason: str) -> None:
        """Nothing."""
