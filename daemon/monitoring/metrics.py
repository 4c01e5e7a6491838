"""Prometheus metrics and /healthz, read from the store at each scrape.

The label is `task`; `job` is the scrape's own label.
"""

import io
import socket
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from zoneinfo import ZoneInfo

import structlog
from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    make_wsgi_app,
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
from alerts.channels.bounds import deadline
from daemon.config.values import split_address
from daemon.context import Context
from daemon.history import history, statistics
from daemon.scheduling.tasks import tasks_of
from daemon.scheduling.timetable import timings
from domain.calendar import longest_gap
from domain.finding import Severity
from domain.task import Trigger
from store.store import StoreError, Transaction
from store.timestamps import from_text

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

BUCKETS = (1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 14400, 28800)
_log = structlog.get_logger("metrics")
TASK = ("task", "database")
MISSES = 2
"""A task is late after this many missed due times."""
REQUEST_SECONDS, TOTAL_SECONDS = 10, 30
MOST_CONNECTIONS = 32


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


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def __init__(self, place: tuple[str, int]) -> None:
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)
        self.address_family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
        super().__init__(place, _Handler)

    def server_bind(self) -> None:
        """Bind without http.server's DNS lookup of the host name."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = (
            str(self.server_address[0]),
            int(self.server_address[1]),
        )
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - socketserver's
        """Answer in a thread; close the connection if too many are open."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - socketserver's
        """Answer within the total time."""
        try:
            with deadline(request, TOTAL_SECONDS):
                super().process_request_thread(request, client_address)
        except OSError:  # no descriptor is free
            self.shutdown_request(request)
        finally:
            self._free.release()

    def handle_error(self, _request: object, _client_address: object) -> None:
        """Log an error in one line; a client that is gone or too slow is none."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            _log.warning("metrics.request_failed", reason=f"{type(error).__name__}: {error}")


class _Errors(io.StringIO):
    """The error stream of wsgiref: a traceback becomes one line of the log."""

    def write(self, text: str) -> int:
        """Log the last line of a traceback; it arrives as a whole or in lines."""
        last = text.strip().rpartition("\n")[2]
        if last and not text.startswith((" ", "Traceback")):
            _log.warning("metrics.request_failed", reason=last)
        return len(text)


class _Handler(WSGIRequestHandler):
    timeout = REQUEST_SECONDS

    def get_stderr(self) -> io.StringIO:
        """Return the stream for errors of the application."""
        return _Errors()

    def log_message(self, *_: object) -> None:
        """Log nothing; scrapes are frequent."""


@contextmanager
def serve_metrics(listen: str, context: Context, problem: Callable[[], str]) -> Iterator[None]:
    """Serve `/metrics` and `/healthz` for the body; `problem` returns a problem, or nothing.

    Raises OSError if the address is unavailable.
    """
    registry = CollectorRegistry(auto_describe=False)
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    registry.register(StoreCollector(context))
    server = _Server(split_address(listen))
    server.set_app(_application(make_wsgi_app(registry), problem))
    ended = threading.Event()
    serving = threading.Thread(target=_serve, args=(server, ended), name="metrics", daemon=True)
    serving.start()
    try:
        yield
    finally:
        ended.set()
        server.socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for a connection
        serving.join()
        server.server_close()


def _serve(server: _Server, ended: threading.Event) -> None:
    """Answer requests; `serve_forever` would wake twice a second."""
    while not ended.is_set():
        server.handle_request()


def _application(metrics: Any, problem: Callable[[], str]) -> "WSGIApplication":  # noqa: ANN401 - the library's own type
    def answer(environment: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        path = environment["PATH_INFO"]
        try:
            if path == "/metrics":
                answered: Iterable[bytes] = metrics(environment, start)
                return answered
            if path == "/healthz":
                wrong = problem()
                return _text(
                    start, "503 Service Unavailable" if wrong else "200 OK", wrong or "well"
                )
        except StoreError as error:
            return _text(start, "503 Service Unavailable", str(error))
        return _text(start, "404 Not Found", "available: /metrics and /healthz")

    return answer


def _text(start: "StartResponse", status: str, text: str) -> list[bytes]:
    body = f"{text}\n".encode()
    start(
        status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    )
    return [body]
