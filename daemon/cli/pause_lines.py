"""Lines on standard error about pauses, where no progress bar is shown."""

import re

import typer

from execution.progress import NoProgress


class PauseLines(NoProgress):
    """Prints each reason to wait once."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def hold(self, _number: int, reason: str) -> None:
        """Print a reason that was not printed before; its numbers do not make it another."""
        kind = re.sub(r"[0-9]+", "#", reason)
        if reason and kind not in self._said:
            self._said.add(kind)
            typer.echo(f"waiting: {reason}", err=True)
