"""Prometheus metrics of migrations, with the names and labels of the users' dashboards."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from daemon.history import migrating
from domain.cause import Cause
from store.store import Row, Transaction
from store.timestamps import from_text

JOB = "migrate"
MOST_RUNS = 10_000
BUCKETS = (0.1, 1, 10, 60, 300, 900, 1800, 3600, 7200, 14400, 28800)
"""In seconds, from 0.1 s to 8 h."""
_TYPES = {Cause.ERROR: "sql", Cause.UNREACHABLE: "connection"}
"""The error types that are named otherwise than their cause."""
PLACE, NAME = ("migration_name", "database"), ("migration_name",)


def migration_metrics(transaction: Transaction) -> Iterator[Metric]:
    """Yield the metrics of all migrations; none if there were none."""
    states = migrating.load_states(transaction)
    runs = migrating.load_runs(transaction, JOB, MOST_RUNS)
    if not states and not runs:
        return
    yield _durations(runs)
    yield _errors(runs)
    yield from _progress(transaction, states)
    yield from _gates(states)


def _durations(runs: Sequence[Row]) -> Metric:
    family = HistogramMetricFamily(
        "migration_duration_seconds", "Duration of runs.", labels=("migration_name", "status")
    )
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in runs:
        if row["finished_at"]:
            seconds[row["subject"], row["state"]].append(row["seconds"])
    for place, values in sorted(seconds.items()):
        buckets = [
            (str(float(limit)), float(sum(value <= limit for value in values))) for limit in BUCKETS
        ]
        family.add_metric(place, [*buckets, ("+Inf", len(values))], sum(values))
    return family


def _errors(runs: Sequence[Row]) -> Metric:
    family = CounterMetricFamily(
        "migration_errors", "Failed runs by type.", labels=("migration_name", "error_type")
    )
    counts = Counter((row["subject"], kind) for row in runs if (kind := error_type(row)))
    for place, count in sorted(counts.items()):
        family.add_metric(place, count)
    return family


def error_type(row: Row) -> str:
    """Return the type of error of a run; empty if it had none."""
    if row["state"] == "interrupted":
        return "interrupted"
    if row["state"] != "failed":
        return ""
    cause = row["cause"] or Cause.ERROR.value
    return _TYPES.get(Cause(cause), cause)


def _progress(transaction: Transaction, states: Sequence[Row]) -> Iterator[Metric]:
    done = _gauge("sereno_migration_rows_done", "Rows of its batch file that are done.", PLACE)
    estimated = _gauge("sereno_migration_rows_estimated", "Rows of its table, estimated.", PLACE)
    known = {(state["migration"], state["database"]) for state in states}
    for row in migrating.latest_progress_of_all(transaction, JOB):
        place = (row["subject"], row["database"])
        if place in known and row["total"]:
            done.add_metric(place, row["done"])
            estimated.add_metric(place, row["total"])
    throttled = _counter("sereno_migration_throttled_seconds", "Time that runs have waited.", NAME)
    attempts = _counter("sereno_migration_lock_attempts", "Tries to get the locks of a file.", NAME)
    last = _gauge(
        "sereno_migration_last_progress_timestamp_seconds",
        "The last time that a run made progress.",
        NAME,
    )
    for row in migrating.sum_progress(transaction, JOB):
        name = (row["subject"],)
        throttled.add_metric(name, row["throttled_seconds"])
        attempts.add_metric(name, row["attempts"])
        last.add_metric(name, from_text(row["moved_at"]).timestamp())
    yield from (done, estimated, throttled, attempts, last)


def _gates(states: Sequence[Row]) -> Iterator[Metric]:
    opened = _gauge(
        "sereno_migration_gate_open",
        "1 if a gate is open or waived, 0 if it is closed.",
        ("migration_name", "database", "gate"),
    )
    waivers = _counter("sereno_migration_waivers", "Gates that were waived.", PLACE)
    for row in states:
        place = (row["migration"], row["database"])
        for gate in json.loads(row["gates"]):
            opened.add_metric((*place, gate["name"]), float(gate["state"] != "closed"))
        waivers.add_metric(place, row["waivers"])
    yield from (opened, waivers)


def _gauge(name: str, text: str, labels: tuple[str, ...]) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=labels)


def _counter(name: str, text: str, labels: tuple[str, ...]) -> CounterMetricFamily:
    return CounterMetricFamily(name, text, labels=labels)
