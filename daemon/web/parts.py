"""The parts of the service that the HTTP interface uses."""

from collections.abc import Callable
from dataclasses import dataclass

from daemon.context import Context
from daemon.migrating.carry_out import CarryOut


@dataclass(slots=True)
class Parts:
    """The context, the carrier of requests, and the health of the service."""

    context: Context
    """Replaced when databases come or go."""
    carrier: CarryOut
    problem: Callable[[], str]
    """Returns why the service does not do its work; empty if it does."""

    def problems(self) -> list[str]:
        """Return the problem of the service as a list."""
        wrong = self.problem()
        return [wrong] if wrong else []
