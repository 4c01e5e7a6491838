"""The progress of one step."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Done:
    """How far a step is: so many of an estimated total (0: unknown), counted in `unit`."""

    count: int
    total: int
    unit: str = "rows"
