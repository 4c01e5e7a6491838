"""Gathers sizes and their growth for the health report: databases, tables, WAL, disks."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from daemon.history import statistics
from daemon.report.report import Growth
from domain.redaction import redact
from store.store import Row, Transaction
from store.timestamps import from_text

HISTORY = timedelta(days=84)
USUAL = timedelta(days=7)
BEFORE = timedelta(days=2)
"""How far before the last report a comparison value may lie."""
MOST_DATABASES = 20
MOST_TABLES = 10
MOST_SERIES = 6
LEAST_FORECAST = timedelta(days=2)
FARTHEST_FORECAST = timedelta(days=730)
BAND_DEVIATIONS = 2.0
LEAST_FOR_BAND = 3

Points = Sequence[tuple[float, float]]
"""Seconds since the epoch, and a value."""


def databases(transaction: Transaction, since: datetime) -> list[Growth]:
    """Return the growth of the databases, the fastest first."""
    return _growths(_series(transaction, "database_bytes", since), since)[:MOST_DATABASES]


def tables(transaction: Transaction, since: datetime) -> list[Growth]:
    """Return the tables that grow fastest."""
    return _growths(_series(transaction, "table_bytes", since), since)[:MOST_TABLES]


def wal(transaction: Transaction, since: datetime, clusters: Mapping[str, str]) -> list[Growth]:
    """Return the WAL that each server has written since the last report.

    All databases of a server show the same WAL: it is named by the first one, and `clusters` has
    the server of each database.
    """
    found: dict[str, list[Growth]] = defaultdict(list)
    for one in _growths(_series(transaction, "wal_position", since), since):
        if one.measured > 1:
            found[clusters.get(one.what, one.what)].append(one)
    servers = [
        replace(max(group, key=lambda one: one.change), what=min(one.what for one in group))
        for group in found.values()
    ]
    return sorted(servers, key=lambda one: one.what)[:MOST_DATABASES]


def mounts(transaction: Transaction, now: datetime) -> list[Growth]:
    """Return the use of each mount, with a forecast of the day on which it is full."""
    totals = {
        row["object"]: row["value"]
        for row in statistics.load_series(transaction, "disk_bytes", now - USUAL)
    }
    used = _points(statistics.load_series(transaction, "disk_used_bytes", now - HISTORY), "object")
    return [
        Growth(
            redact(mount),
            used[mount][0][1],
            used[mount][-1][1],
            total,
            full_on(used[mount], total),
            full_between(used[mount], total),
        )
        for mount, total in sorted(totals.items())
        if mount in used
    ]


def disks(transaction: Transaction, now: datetime) -> Mapping[str, Points]:
    """Return the used share of the fullest mounts over time."""
    totals = {
        row["object"]: row["value"]
        for row in statistics.load_series(transaction, "disk_bytes", now - USUAL)
        if row["value"]
    }
    rows = statistics.load_series(transaction, "disk_used_bytes", now - HISTORY)
    used = _points(rows, "object")
    shares = {
        mount: [(at, value / totals[mount]) for at, value in points]
        for mount, points in used.items()
        if mount in totals
    }
    return _largest(shares)


def _largest(series: Mapping[str, Points]) -> Mapping[str, Points]:
    """Return the series with the largest last values, as many as a chart shows."""
    largest = sorted(series, key=lambda name: (-series[name][-1][1], name))[:MOST_SERIES]
    return {redact(name): series[name] for name in largest}


def trends(disks: Mapping[str, Points]) -> Mapping[str, tuple[float, float]]:
    """Return the slope of each mount and its standard error, as the forecast has them."""
    fitted = {name: _fit(points) for name, points in disks.items()}
    return {name: fit for name, fit in fitted.items() if fit is not None}


def sizes(transaction: Transaction, now: datetime) -> Mapping[str, Points]:
    """Return the sizes of the largest databases over time."""
    rows = statistics.load_series(transaction, "database_bytes", now - HISTORY)
    return _largest(_points(rows, "database"))


def full_on(used: Points, total: float) -> date | None:
    """Return the day on which a linear fit reaches the total; None beyond two years.

    Needs values over at least two days.
    """
    fitted = _fit(used)
    return _day(used, total, fitted[0]) if fitted else None


def full_between(used: Points, total: float) -> tuple[date, date | None] | None:
    """Return the earliest and latest day of the forecast: its slope, two standard errors apart.

    The latest is None if the use may as well not grow. None without a forecast, or with fewer
    than three values.
    """
    fitted = _fit(used)
    if fitted is None or len(used) < LEAST_FOR_BAND or _day(used, total, fitted[0]) is None:
        return None
    slope, error = fitted
    earliest = _day(used, total, slope + BAND_DEVIATIONS * error)
    latest = _day(used, total, slope - BAND_DEVIATIONS * error)
    return (earliest, latest) if earliest is not None else None


def _fit(used: Points) -> tuple[float, float] | None:
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


def _series(transaction: Transaction, name: str, since: datetime) -> list[Row]:
    return statistics.load_series(transaction, name, since - BEFORE)


def _growths(rows: Sequence[Row], since: datetime) -> list[Growth]:
    """Return the growth of each series, largest first."""
    values: dict[str, list[tuple[datetime, float]]] = defaultdict(list)
    for row in rows:
        what = " ".join(part for part in (row["database"], row["object"]) if part)
        values[what].append((from_text(row["taken_at"]), row["value"]))
    found = [
        Growth(redact(what), _before(series, since), series[-1][1], measured=len(series))
        for what, series in values.items()
    ]
    return sorted(found, key=lambda one: (-one.change, -one.now, one.what))


def _before(series: Sequence[tuple[datetime, float]], since: datetime) -> float:
    earlier = [value for at, value in series if at <= since]
    return earlier[-1] if earlier else series[0][1]


def _points(rows: Sequence[Row], key: str) -> dict[str, list[tuple[float, float]]]:
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        found[row[key]].append((from_text(row["taken_at"]).timestamp(), row["value"]))
    return dict(found)
