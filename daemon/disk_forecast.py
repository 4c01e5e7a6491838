"""The forecast of full disks: a line through the used bytes, and its band. Pure."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from store.store import Row
from store.timestamps import from_text

LEAST_FORECAST = timedelta(days=2)
FARTHEST_FORECAST = timedelta(days=730)
BAND_DEVIATIONS = 2.0
LEAST_FOR_BAND = 3

Points = Sequence[tuple[float, float]]
"""Seconds since the epoch, and a value."""


def full_on(used: Points, total: float) -> date | None:
    """Return the day on which a linear fit reaches the total; None beyond two years.

    Needs values over at least two days.
    """
    fitted = fit(used)
    return _day(used, total, fitted[0]) if fitted else None


def full_between(used: Points, total: float) -> tuple[date, date | None] | None:
    """Return the earliest and latest day of the forecast: its slope, two standard errors apart.

    The latest is None if the use may as well not grow. None without a forecast, or with fewer
    than three values.
    """
    fitted = fit(used)
    if fitted is None or len(used) < LEAST_FOR_BAND or _day(used, total, fitted[0]) is None:
        return None
    slope, error = fitted
    earliest = _day(used, total, slope + BAND_DEVIATIONS * error)
    latest = _day(used, total, slope - BAND_DEVIATIONS * error)
    return (earliest, latest) if earliest is not None else None


def fit(used: Points) -> tuple[float, float] | None:
    """Return the slope of a line through the values, and its standard error."""
    if not used or used[-1][0] - used[0][0] < LEAST_FORECAST.total_seconds():
        return None
    middle_x = sum(x for x, _ in used) / len(used)
    middle_y = sum(y for _, y in used) / len(used)
    spread = sum((x - middle_x) ** 2 for x, _ in used)
    slope = sum((x - middle_x) * (y - middle_y) for x, y in used) / spread
    rest = sum((y - middle_y - slope * (x - middle_x)) ** 2 for x, y in used)
    freedom = max(len(used) - 2, 1)
    return slope, float((rest / freedom / spread) ** 0.5)


def _day(used: Points, total: float, slope: float) -> date | None:
    """Return the day on which the last value reaches the total at a slope in bytes a second."""
    if slope <= 0:
        return None
    left = max(0.0, (total - used[-1][1]) / slope)
    if left > FARTHEST_FORECAST.total_seconds():
        return None
    return (datetime.fromtimestamp(used[-1][0], UTC) + timedelta(seconds=left)).date()


def series_by(rows: Sequence[Row], key: str) -> dict[str, list[tuple[float, float]]]:
    """Return the values of measures by a column: seconds since the epoch, value."""
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        found[row[key]].append((from_text(row["taken_at"]).timestamp(), row["value"]))
    return dict(found)
