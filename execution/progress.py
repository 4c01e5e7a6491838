"""Observers of a run's progress."""

from typing import Protocol

from domain.progress import LockTry, StepProgress


class Progress(Protocol):
    """Receives the progress of steps, identified by number; several may run at once."""

    def begin(self, number: int, of: int, title: str) -> None:
        """Called when step `number` of `of` begins."""

    def advance(self, number: int, done: StepProgress) -> None:
        """Called when a step has advanced."""

    def hold(self, number: int, reason: str) -> None:
        """Called when the governor pauses a step, or resumes it (empty reason)."""

    def locking(self, number: int, attempt: LockTry) -> None:
        """Called when a step tries to get locks, or sees others hold them."""

    def end(self, number: int, status: str, reason: str) -> None:
        """Called when a step has ended."""


class NoProgress:
    """Ignores all progress; used by the service, whose progress is in the history."""

    def begin(self, number: int, of: int, title: str) -> None:
        """Do nothing."""

    def advance(self, number: int, done: StepProgress) -> None:
        """Do nothing."""

    def hold(self, number: int, reason: str) -> None:
        """Do nothing."""

    def locking(self, number: int, attempt: LockTry) -> None:
        """Do nothing."""

    def end(self, number: int, status: str, reason: str) -> None:
        """Do nothing."""
