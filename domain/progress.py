"""The progress of one step."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepProgress:
    """The count reached, of an estimated total (0 if unknown), in `unit`."""

    count: int
    total: int
    unit: str = "rows"
