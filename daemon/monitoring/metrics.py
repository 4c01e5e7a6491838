"""Prometheus metrics, read from the store at each scrape.

The label is `task`; `job` is the scrape's own label.
"""

from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from importlib.metadata import version
from zoneinfo import ZoneInfo

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    exposition,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from alerts import alert_store, outbox
from alerts.alert import State
from daemon.context import Context
from daemon.history import history, statistics
from daemon.monitoring.migration_metrics import migration_metrics
from daemon.monitoring.state_metrics import state_metrics
from daemon.scheduling.tasks import tasks_of
from daemon.scheduling.timetable import timings
from domain.calendar import longest_gap
from domain.finding import Severity
from domain.task import Trigger
from store.store import Transaction
from store.timestamps import from_text

BUCKETS = (1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 14400, 28800)
TASK = ("task", "database")
MISSES = 2
"""A task is late after this many missed due times."""


class StoreCollector(Collector):
    """Collects metrics from the store."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._build = InfoMetricFamily(
            "sereno_build", "The version of this sereno.", {"version": version("sereno")}
        )

    def collect(self) -> Iterator[Metric]:
        """Read everything in one transaction. Raises StoreError."""
        with self._context.store.reading() as transaction:
            families = [
                *self._tasks(transaction),
                _durations(transaction),
                *_alert_metrics(transaction),
                *self._messages(transaction),
                self._next(),
                *migration_metrics(transaction),
                *state_metrics(transaction, self._windows(), self._context.clock()),
            ]
        yield self._build
        yield from families

    def _tasks(self, transaction: Transaction) -> Iterator[Metric]:
        started = _gauge("sereno_task_last_start_timestamp_seconds", "Start of the last run.", TASK)
        succeeded = _gauge(
            "sereno_task_last_success_timestamp_seconds",
            "End of the last finished run; 0 if there is none.",
            TASK,
        )
        running = _gauge("sereno_task_running", "1 while a run is in progress.", TASK)
        known = {(row["job"], row["database"]): row for row in statistics.load_latest(transaction)}
        planned = dict(self._planned(transaction))
        for place in sorted(known.keys() | planned.keys()):
            row = known.get(place, {"started": None, "succeeded": None, "running": 0})
            if row["started"]:
                started.add_metric(place, _timestamp(row["started"]))
            succeeded.add_metric(place, _timestamp(row["succeeded"]) if row["succeeded"] else 0)
            running.add_metric(place, row["running"])
        yield from (started, succeeded, running)
        yield from _ended(transaction)
        age = _gauge(
            "sereno_task_max_age_seconds", "A last success older than this is too old.", TASK
        )
        since = _gauge(
            "sereno_task_planned_timestamp_seconds", "Time since which the task is planned.", TASK
        )
        for place, (seconds, at) in sorted(planned.items()):
            age.add_metric(place, seconds)
            since.add_metric(place, at)
        yield from (age, since)

    def _planned(
        self, transaction: Transaction
    ) -> Iterator[tuple[tuple[str, str], tuple[float, float]]]:
        """Yield each planned task, its maximum age and start; the last of two schedules counts."""
        now = self._context.clock()
        for name, schedule in self._context.config.timetable.items():
            seconds = MISSES * longest_gap(schedule.cron, self._zone, now).total_seconds()
            for task in tasks_of(self._context, schedule.jobs, Trigger(name)):
                known = history.planned_since(transaction, task, str(schedule.cron))
                yield (task.job, task.database), (seconds, (known or now).timestamp())

    def _windows(self) -> dict[str, timedelta]:
        timetable = self._context.config.timetable
        return {name: schedule.window for name, schedule in timetable.items()}

    @property
    def _zone(self) -> ZoneInfo:
        return ZoneInfo(self._context.config.daemon.timezone)

    def _messages(self, transaction: Transaction) -> Iterator[Metric]:
        pending = _gauge("sereno_outbox_pending", "Undelivered notifications.", ("channel",))
        oldest = _gauge(
            "sereno_outbox_oldest_timestamp_seconds",
            "Creation of the oldest undelivered notification; no series if there is none.",
            ("channel",),
        )  # fmt: skip
        total = CounterMetricFamily(
            "sereno_notifications", "Notifications delivered (sent) or given up (dead).",
            labels=("channel", "result"),
        )  # fmt: skip
        counts = outbox.count_by_state(transaction)
        for channel in sorted(self._context.channels.keys() | counts.keys()):
            states = counts.get(channel, {})
            waiting = [states[state] for state in ("pending", "leased") if state in states]
            pending.add_metric((channel,), sum(count for count, _ in waiting))
            if waiting:
                oldest.add_metric((channel,), min(at for _, at in waiting).timestamp())
            for result in ("sent", "dead"):
                total.add_metric((channel, result), states.get(result, (0, None))[0])
        yield from (pending, oldest, total)

    def _next(self) -> Metric:
        due = _gauge("sereno_schedule_next_timestamp_seconds", "Next due time.", ("schedule",))
        for name, timing in timings(self._context.config).items():
            one = next(timing.upcoming(self._context.clock()), None)
            if one is not None:
                due.add_metric((name,), one.instant.timestamp())
        return due


def _ended(transaction: Transaction) -> Iterator[Metric]:
    labels = (*TASK, "state")
    last = _gauge(
        "sereno_task_last_run_timestamp_seconds", "End of the last run with this state.", labels
    )
    total = CounterMetricFamily(
        "sereno_task_runs", "Number of runs with this state.", labels=labels
    )
    for row in statistics.load_ended(transaction):
        place = (row["job"], row["database"], row["state"])
        last.add_metric(place, _timestamp(row["at"]))
        total.add_metric(place, row["runs"])
    yield from (last, total)


def _durations(transaction: Transaction) -> Metric:
    family = HistogramMetricFamily("sereno_task_duration_seconds", "Duration of runs.", labels=TASK)
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in statistics.load_durations(transaction):
        seconds[row["job"], row["database"]].append(row["seconds"])
    for place, values in sorted(seconds.items()):
        buckets = [
            (str(float(limit)), sum(value <= limit for value in values)) for limit in BUCKETS
        ]
        family.add_metric(place, [*buckets, ("+Inf", len(values))], sum(values))
    return family


def _alert_metrics(transaction: Transaction) -> Iterator[Metric]:
    findings = _gauge("sereno_findings", "Findings of the last run of each task.", ("severity",))
    opened = _gauge("sereno_alerts_open", "Open alerts, pending ones excluded.", ("severity",))
    found = statistics.count_findings(transaction)
    alerts = [
        alert.severity
        for alert in alert_store.load_open(transaction)
        if alert.state is not State.PENDING
    ]
    for severity in Severity:
        findings.add_metric((severity.value,), found.get(severity.value, 0))
        opened.add_metric((severity.value,), alerts.count(severity))
    yield from (findings, opened)


def _gauge(name: str, text: str, labels: tuple[str, ...]) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=labels)


def _timestamp(text: str) -> float:
    return from_text(text).timestamp()


def registry_of(context: Context) -> CollectorRegistry:
    """Return the metrics of the process and of the store."""
    registry = CollectorRegistry(auto_describe=False)
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    registry.register(StoreCollector(context))
    return registry


def store_registry(context: Context) -> CollectorRegistry:
    """Return the metrics of the store alone, for a file that other programs read."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(StoreCollector(context))
    return registry


def render(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """Return the metrics in the format that a scraper accepts, and its type. Raises StoreError."""
    encode, kind = exposition.choose_encoder(accept)
    return encode(registry), kind
