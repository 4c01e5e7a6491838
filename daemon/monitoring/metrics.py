"""Prometheus metrics, read from the store at each scrape.

The label is `task`; `job` is the scrape's own label.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from importlib.metadata import version
from itertools import accumulate
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
from daemon.runs.result import RunState
from daemon.scheduling.tasks import tasks_of
from daemon.scheduling.timetable import timings
from domain.calendar import longest_gap
from domain.finding import Severity
from domain.task import Trigger
from store.store import Row, Transaction
from store.timestamps import from_text

BUCKETS = (1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 14400, 28800)
"""Those of the view ended_run of the store."""
LAST_BUCKET = 2**31 - 1
TASK = ("task", "database")
TASK_STATE = (*TASK, "state")
MISSES = 2
"""A task is late after this many missed due times."""


class StoreCollector(Collector):
    """Collects metrics from the store."""

    def __init__(self, read: Callable[[], Context]) -> None:
        self._read = read
        self._build = InfoMetricFamily(
            "sereno_build", "The version of this sereno.", {"version": version("sereno")}
        )

    @property
    def _context(self) -> Context:
        return self._read()

    def collect(self) -> Iterator[Metric]:
        """Read everything in one transaction. Raises StoreError."""
        with self._context.store.reading() as transaction:
            families = [
                *self._tasks(transaction),
                *_runs(transaction),
                *_alert_metrics(transaction),
                *self._messages(transaction),
                self._next(),
                *migration_metrics(transaction),
                *state_metrics(
                    transaction,
                    self._windows(),
                    self._context.config.fleet.stalled_after,
                    self._context.clock(),
                ),
            ]
        yield self._build
        yield from families

    def _tasks(self, transaction: Transaction) -> Iterator[Metric]:
        """Yield the states of tasks: two series for each one, since there may be thousands."""
        ends = {
            (row["job"], row["database"]): row for row in statistics.load_last_ends(transaction)
        }
        planned = self._planned(transaction)
        succeeded = _gauge(
            "sereno_task_last_success_timestamp_seconds",
            "End of the last finished run; 0 if there is none.",
            TASK,
        )
        late = _gauge(
            "sereno_task_late_timestamp_seconds",
            "Time from which the task is late: two due times without a finished run.",
            TASK,
        )
        for place in sorted(ends.keys() | planned.keys()):
            at = _timestamp(ends[place]["succeeded_at"] if place in ends else None)
            succeeded.add_metric(place, at)
            if place in planned:
                limits = (max(at, since) + seconds for since, seconds in planned[place])
                late.add_metric(place, min(limits))
        yield from (succeeded, late, _not_finished(ends))
        running = _gauge("sereno_task_running", "1 while a run is in progress.", TASK)
        at_work = {(row["job"], row["database"]) for row in history.running_runs(transaction)}
        for place in sorted(at_work):
            running.add_metric(place, 1)
        yield running

    def _planned(
        self, transaction: Transaction
    ) -> dict[tuple[str, str], list[tuple[float, float]]]:
        """Return since when each task is planned by each schedule, and its maximum age."""
        now = self._context.clock()
        since = history.load_planned(transaction)
        planned: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for name, schedule in self._context.config.timetable.items():
            seconds = MISSES * longest_gap(schedule.cron, self._zone, now).total_seconds()
            cron = str(schedule.cron)
            for task in tasks_of(self._context, schedule.jobs, Trigger(name)):
                known = since.get(history.planned_name(task, cron), now)
                limits = planned.setdefault((task.job, task.database), [])
                limits.append((known.timestamp(), seconds))
        return planned

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


def _not_finished(ends: Mapping[tuple[str, str], Row]) -> Metric:
    family = _gauge(
        "sereno_task_not_finished_timestamp_seconds",
        "End of the last run if it did not finish; its state is failed, window_ended and so on.",
        TASK_STATE,
    )
    for place, row in sorted(ends.items()):
        if row["state"] != RunState.FINISHED:
            family.add_metric((*place, row["state"]), _timestamp(row["finished_at"]))
    return family


def _runs(transaction: Transaction) -> Iterator[Metric]:
    """Yield the number of runs and their durations; of jobs, since the databases may be many."""
    total = CounterMetricFamily(
        "sereno_task_runs", "Number of runs with this state.", labels=("task", "state")
    )
    family = HistogramMetricFamily(
        "sereno_task_duration_seconds", "Duration of runs.", labels=("task",)
    )
    states: Counter[tuple[str, str]] = Counter()
    durations: dict[str, Counter[int]] = defaultdict(Counter)
    seconds: Counter[str] = Counter()
    for row in statistics.load_ended_runs(transaction):
        job = row["job"]
        states[job, row["state"]] += row["runs"]
        if row["state"] != RunState.SKIPPED:
            durations[job][row["at_most"]] += row["runs"]
            seconds[job] += row["seconds"]
    for place, runs in states.items():
        total.add_metric(place, runs)
    for job, counts in durations.items():
        within = accumulate(counts[limit] for limit in (*BUCKETS, LAST_BUCKET))
        limits = (*(str(float(limit)) for limit in BUCKETS), "+Inf")
        family.add_metric((job,), list(zip(limits, within, strict=True)), seconds[job])
    yield from (total, family)


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


def _timestamp(text: str | None) -> float:
    """Return the seconds since 1970; 0 for none."""
    if text is None:
        return 0.0
    return from_text(text).timestamp()


def registry_of(read: Callable[[], Context]) -> CollectorRegistry:
    """Return the metrics of the process and of the store; `read` returns the context in force."""
    registry = CollectorRegistry(auto_describe=False)
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    registry.register(StoreCollector(read))
    return registry


def store_registry(context: Context) -> CollectorRegistry:
    """Return the metrics of the store alone, for a file that other programs read."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(StoreCollector(lambda: context))
    return registry


def render(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """Return the metrics in the format that a scraper accepts, and its type. Raises StoreError."""
    encode, kind = exposition.choose_encoder(accept)
    return encode(registry), kind
