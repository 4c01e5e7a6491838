"""The waves in which a schedule works on many databases, and when the next is not begun. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

REST = "*"


@dataclass(frozen=True, slots=True)
class WaveResult:
    """What came of a wave."""

    databases: int
    failed: int
    """Databases with a failed run."""
    critical: int
    """Alerts that its runs opened as critical."""


def in_waves(databases: Sequence[str], sizes: Sequence[str]) -> list[list[str]]:
    """Return the databases by wave, in their order; those beyond the last size are a last wave."""
    waves, begun = [], 0
    for size in (*sizes, REST):
        wave = list(databases[begun : begun + count_of(size, len(databases))])
        begun += len(wave)
        if wave:
            waves.append(wave)
    return waves


def count_of(size: str, total: int) -> int:
    """Return the number that a size means: `3`, a share of the total like `5%`, or `*` for all."""
    if size == REST:
        return total
    if size.endswith("%"):
        return math.ceil(total * int(size.removesuffix("%")) / 100)
    return int(size)


def failure_of(wave: WaveResult, failed: str, critical: int) -> str:
    """Return why the next wave is not begun; empty if it is."""
    if wave.failed and wave.failed >= count_of(failed, wave.databases):
        return f"runs failed in {wave.failed} of its {wave.databases} databases"
    if wave.critical >= critical:
        return f"its runs opened {wave.critical} critical alerts"
    return ""
