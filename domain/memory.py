"""Values kept from one run for the next: measures, and what each object took."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Measure:
    """One value of a series: `table_bytes` of an object in a database, `disk_used_bytes` of a mount."""

    name: str
    database: str
    object: str
    value: float


@dataclass(frozen=True, slots=True)
class Memory:
    """What the store knows of an object from the last time that a job did it."""

    seconds: float
    bytes: int
    evidence: Mapping[str, Any] = field(default_factory=dict)
