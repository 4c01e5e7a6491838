"""Gathers sizes and their growth for the health report: databases, tables, WAL, disks."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from daemon.disk_forecast import Points, fit, full_between, full_on, series_by
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
    used = series_by(
        statistics.load_series(transaction, "disk_used_bytes", now - HISTORY), "object"
    )
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
    used = series_by(rows, "object")
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
    fitted = {name: fit(points) for name, points in disks.items()}
    return {name: one for name, one in fitted.items() if one is not None}


def sizes(transaction: Transaction, now: datetime) -> Mapping[str, Points]:
    """Return the sizes of the largest databases over time."""
    rows = statistics.load_series(transaction, "database_bytes", now - HISTORY)
    return _largest(series_by(rows, "database"))


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
