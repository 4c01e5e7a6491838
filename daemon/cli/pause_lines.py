"""Lines on standard error about pauses, where no progress bar is shown."""

import re
from typing import Self

import typer

from execution.progress import NoProgress


class PauseLines(NoProgress):
    """Prints each reason to wait once, for all places; none if it is `quiet`."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._said: set[str] = set()

    def __enter__(self) -> Self:
        """Return the view of all places."""
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing."""

    def place(self) -> Self:
        """Return the view of one place."""
        return self

    def run(self, job: str, database: str) -> None:
        """Do nothing."""

    def finished(self, state: str) -> None:
        """Do nothing."""

    def hold(self, _number: int, reason: str) -> None:
        """Print a reason that was not printed before; its numbers do not make it another."""
        kind = re.sub(r"[0-9]+", "#", reason)
        if reason and kind not in self._said and not self._quiet:
            self._said.add(kind)
            typer.echo(f"waiting: {reason}", err=True)
