"""Prometheus metrics of workers, coverage, disks, transaction ids, pauses and windows.

No label is a table.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from daemon.disk_forecast import full_on, series_by
from daemon.history import fleet, statistics
from store.store import Transaction

RECENT = timedelta(days=14)
HISTORY = timedelta(days=84)
IDS = 2**31
_DAY_SECONDS = 86_400.0


def state_metrics(
    transaction: Transaction,
    windows: Mapping[str, timedelta],
    stalled_after: timedelta,
    now: datetime,
) -> Iterator[Metric]:
    """Yield the metrics; `windows` are those of the schedules."""
    yield from _workers(transaction, stalled_after, now)
    yield from _coverage(transaction, now)
    yield from _disks(transaction, now)
    yield _wraparound(transaction, now)
    yield _paused(transaction)
    yield _windows(transaction, windows)


def _workers(transaction: Transaction, stalled_after: timedelta, now: datetime) -> Iterator[Metric]:
    up = GaugeMetricFamily(
        "sereno_worker_up",
        "Whether a worker of the fleet gives signs of life; no series without a fleet.",
        labels=("worker",),
    )
    runs = GaugeMetricFamily(
        "sereno_worker_runs", "Runs at work in a worker of the fleet.", labels=("worker",)
    )
    running = fleet.count_running(transaction)
    for one in fleet.load_workers(transaction):
        up.add_metric((one.name,), one.is_up(now, stalled_after))
        runs.add_metric((one.name,), running.get(one.process, 0))
    yield from (up, runs)


def _coverage(transaction: Transaction, now: datetime) -> Iterator[Metric]:
    wanted = GaugeMetricFamily(
        "sereno_coverage_objects",
        "Objects that are to be verified.",
        labels=("database", "objects"),
    )
    proven = GaugeMetricFamily(
        "sereno_coverage_proven_objects",
        "Objects that were verified, as of the beginning of the last run.",
        labels=("database", "objects"),
    )
    oldest = GaugeMetricFamily(
        "sereno_coverage_oldest_proof_seconds",
        "Age of the oldest proof; no series without one.",
        labels=("database", "objects"),
    )
    families = {"wanted": (wanted, 1.0), "proven": (proven, 1.0), "days": (oldest, _DAY_SECONDS)}
    for (objects, database), values in statistics.load_coverage(transaction, now - RECENT).items():
        for key, value in values.items():
            if key == "days" and not values.get("proven"):
                continue  # nothing was proven, so there is no oldest proof
            family, factor = families[key]
            family.add_metric((database, objects), value * factor)
    yield from (wanted, proven, oldest)


def _disks(transaction: Transaction, now: datetime) -> Iterator[Metric]:
    size = GaugeMetricFamily("sereno_disk_bytes", "Size of a mount.", labels=("mount",))
    used = GaugeMetricFamily("sereno_disk_used_bytes", "Used bytes of a mount.", labels=("mount",))
    full = GaugeMetricFamily(
        "sereno_disk_full_timestamp_seconds",
        "Day on which a mount is full at the pace of the last weeks; no series without a forecast.",
        labels=("mount",),
    )
    totals = {
        row["object"]: row["value"]
        for row in statistics.load_series(transaction, "disk_bytes", now - RECENT)
    }
    rows = statistics.load_series(transaction, "disk_used_bytes", now - HISTORY)
    for mount, points in sorted(series_by(rows, "object").items()):
        if mount not in totals:
            continue
        size.add_metric((mount,), totals[mount])
        used.add_metric((mount,), points[-1][1])
        day = full_on(points, totals[mount])
        if day is not None:
            midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
            full.add_metric((mount,), midnight.timestamp())
    yield from (size, used, full)


def _wraparound(transaction: Transaction, now: datetime) -> Metric:
    """Return the used share of the transaction ids of each server, by its first database."""
    family = GaugeMetricFamily(
        "sereno_wraparound_ratio",
        "Used share of the 2^31 transaction or multixact ids, the highest of a server.",
        labels=("database",),
    )
    clusters = statistics.load_clusters(transaction)
    told = set()
    used = statistics.load_last_measures(transaction, "ids_used", now - RECENT)
    for database, value in sorted(used.items()):
        server = clusters.get(database, database)
        if server not in told:
            family.add_metric((database,), value / IDS)
            told.add(server)
    return family


def _paused(transaction: Transaction) -> Metric:
    family = CounterMetricFamily(
        "sereno_paused_seconds",
        "Time that steps have waited, by the signals of the governor.",
        labels=("task", "reason"),
    )
    for row in statistics.load_paused(transaction):
        family.add_metric((row["job"], row["reason"]), row["seconds"])
    return family


def _windows(transaction: Transaction, windows: Mapping[str, timedelta]) -> Metric:
    family = GaugeMetricFamily(
        "sereno_schedule_window_used_ratio",
        "Share of its window that the last due time of a schedule has used.",
        labels=("schedule",),
    )
    for schedule, window in windows.items():
        due = statistics.load_last_due(transaction, schedule)
        if due and due[1]:
            family.add_metric((schedule,), (due[1] - due[0]) / window)
    return family
