"""Values kept between runs: measures, and the memory of each object."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Measure:
    """One value of a series: `table_bytes` of a table, `disk_used_bytes` of a mount."""

    name: str
    database: str
    object: str
    value: float


@dataclass(frozen=True, slots=True)
class Memory:
    """The last successful step of a job on one object: its duration, size and evidence."""

    seconds: float
    bytes: int
    evidence: Mapping[str, Any] = field(default_factory=dict)
    at: datetime | None = None
    """The end of that step; None if it is not known."""
