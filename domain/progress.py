"""The progress of one step."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepProgress:
    """The count reached, of an estimated total (0 if unknown), in `unit`."""

    count: int
    total: int
    unit: str = "rows"
    batch: int = 0
    """The rows of the last batch; 0 if it works in none."""


@dataclass(frozen=True, slots=True)
class LockTry:
    """A try to get locks; without milliseconds the step only looked, and queued behind nobody."""

    milliseconds: int = 0
    """The longest wait of this try."""
    blockers: tuple[str, ...] = ()
