"""The forecast of a level that grows towards its limit: when it is reached at the present pace."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from checks.check import Header, OptionValues, Row
from checks.judge import severity_of
from domain.finding import Severity

SHORTEST = timedelta(days=1)
"""Less says nothing about the pace: a night differs from a day."""
APART = timedelta(hours=20)
MOST_SAMPLES = 8
"""Samples of a level, at most one in APART: the pace is that of about a week."""
FARTHEST_DAYS = 730.0
"""A forecast beyond is not told."""
COLUMNS = frozenset({"days_left", "days_left_es"})
"""The columns that a row gets: the forecast as text, or nothing."""

Levels = Mapping[str, Sequence[tuple[float, str]]]
"""The samples of each object, the oldest first: level, instant."""


def forecast(
    header: Header, rows: Sequence[Row], options: OptionValues, earlier: Levels, now: datetime
) -> tuple[Sequence[Row], Levels]:
    """Return the rows with their forecasts, and the samples to keep.

    A row has `level` and `limit`. Its severity becomes the worse one of its own and of the days
    left, by the options days_warning, days_high and days_critical.
    """
    levels: dict[str, Sequence[tuple[float, str]]] = {}
    found: list[Row] = []
    for row in rows:
        name = str(row["object"])
        if row.get("level") is None:
            found.append({**row, "days_left": "", "days_left_es": ""})
            if name in earlier and row.get("value") is None:  # not seen; else it is not followed
                levels[name] = earlier[name]
            continue
        level, limit = float(str(row["level"])), float(str(row["limit"]))
        samples = [(float(one), str(at)) for one, at in earlier.get(name, ())]
        left = _days_left(samples, level, limit, now)
        if not samples or now - datetime.fromisoformat(samples[-1][1]) >= APART:
            samples.append((level, now.isoformat()))
        levels[name] = samples[-MOST_SAMPLES:]
        found.append(_with_forecast(header, row, options, left))
    return found, levels


def _days_left(
    samples: Sequence[tuple[float, str]], level: float, limit: float, now: datetime
) -> float | None:
    """Return the days until the limit; None if the level does not grow, or is not known enough."""
    if not samples:
        return None
    first, at = samples[0]
    elapsed = now - datetime.fromisoformat(at)
    if elapsed < SHORTEST or level <= first:
        return None
    return max(limit - level, 0) / ((level - first) / (elapsed / timedelta(days=1)))


def _with_forecast(header: Header, row: Row, options: OptionValues, left: float | None) -> Row:
    own = severity_of(header, row, options)
    found = [one for one in (own, _severity(left, options)) if one is not None]
    is_told = left is not None and left <= FARTHEST_DAYS
    return {
        **row,
        "severity": max(found).value if found else "none",
        "days_left": f"; {left:,.0f} days left at this pace" if is_told else "",
        "days_left_es": f"; quedan {left:,.0f} días a este ritmo" if is_told else "",
    }


def _severity(left: float | None, options: OptionValues) -> Severity | None:
    if left is None:
        return None
    for severity in (Severity.CRITICAL, Severity.HIGH, Severity.WARNING):
        limit = options.get(f"days_{severity.value}")
        if limit is not None and left <= float(str(limit)):
            return severity
    return None
