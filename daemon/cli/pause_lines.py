"""Lines on standard error about pauses, where no progress bar is shown."""

import typer

from execution.progress import NoProgress


class PauseLines(NoProgress):
    """Prints each reason to wait once."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def hold(self, _number: int, reason: str) -> None:
        """Print a reason that was not printed before."""
        if reason and reason not in self._said:
            self._said.add(reason)
            typer.echo(f"waiting: {reason}", err=True)
