"""The life of the process: own the state, take up what was left, fire at the due times, stop when told."""

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from zoneinfo import ZoneInfo

import structlog

from alerts import book, outbox
from alerts.policy import Coverage, repeats
from checks.finding import Finding, Identity, Severity
from daemon import history
from daemon.calendar import Due, latest, upcoming
from daemon.history import Trigger
from daemon.metrics import listening
from daemon.parts import Parts
from daemon.runner import Runner
from daemon.schedule import Schedule
from daemon.screen import Silent
from daemon.tell import tell
from postgres.window import opens_for
from store.lock import exclusive
from store.store import StoreError

TICK_SECONDS = 20.0
FLUSH_SECONDS = 5.0
PATIENCE_SECONDS = 3.0
"""A look at the lock, or a delivery by the command line, is over by then."""
AILING_SECONDS = 4 * TICK_SECONDS
MISSED = "task_missed"
DEAF = "metrics_unreachable"

_log = structlog.get_logger("service")


class Service:
    """`sereno run`."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._zone = ZoneInfo(parts.config.daemon.timezone)
        self._runner = Runner(parts, Silent())
        self._schedule = Schedule()
        self._stop = threading.Event()
        self._ticked = time.monotonic()

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Locked: another service owns the state file."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        with exclusive(self._parts.store.service_lock, PATIENCE_SECONDS):
            self._take_up()
            silence = threading.Event()
            couriers = self._parts.courier().start(silence)
            try:
                with self._listening(couriers):
                    self._serve()
            finally:
                self._end(silence, couriers)

    def _serve(self) -> None:
        self._schedule.start()
        for name in self._parts.config.schedules:
            self._catch_up(name)
        _log.info("service.started", schedules=list(self._parts.config.schedules))
        while not self._stop.wait(TICK_SECONDS):
            self._tick()
            self._ticked = time.monotonic()

    @contextmanager
    def _listening(self, couriers: Sequence[threading.Thread]) -> Iterator[None]:
        """Answer Prometheus. That its address is taken is told, and keeps nobody from the night's work."""
        listen = self._parts.config.daemon.listen
        with ExitStack() as stack:
            findings = []
            if listen:
                try:
                    stack.enter_context(listening(listen, self._parts, self._runner, lambda: self._ailing(couriers)))
                except OSError as error:
                    findings = [self._deaf(listen, error)]
            tell(self._parts, findings, [Coverage(DEAF)])
            yield

    def _deaf(self, listen: str, error: OSError) -> Finding:
        _log.error("metrics.failed", listen=listen, error=str(error))
        identity = Identity(DEAF, self._parts.config.daemon.name, object=listen)
        summary = f"no metrics on {listen}: {error.strerror or error}"
        remedy = "free the address, or give another one in daemon.listen; then restart sereno"
        return Finding(identity, Severity.WARNING, summary, remedy=remedy)

    def _ailing(self, couriers: Sequence[threading.Thread]) -> str:
        """Say what of us does not go on; nothing if all does."""
        if time.monotonic() - self._ticked > AILING_SECONDS:
            return "the service's own loop stands still"
        dead = [courier.name for courier in couriers if not courier.is_alive()]
        return f"{dead[0]} has died" if dead else ""

    def _end(self, silence: threading.Event, couriers: Sequence[threading.Thread]) -> None:
        """Cancel what is in flight, let it be written down, go."""
        _log.info("service.stopping")
        self._runner.cancel_soon()
        self._schedule.stop()
        silence.set()
        for courier in couriers:
            courier.join(FLUSH_SECONDS)
        _log.info("service.stopped")

    def _take_up(self) -> None:
        """Nobody else owns the file, so what is recorded as running has died with its process."""
        now = self._parts.clock()
        with self._parts.store.transaction() as transaction:
            for run, process in history.orphaned(transaction):
                history.interrupt(transaction, run, f"process {process} ended without a word", now)

    def _catch_up(self, name: str) -> None:
        """Plan the next due time; take up the last one as the schedule says, else say that it was missed."""
        schedule = self._parts.config.schedules[name]
        now = self._parts.clock()
        last = latest(schedule.cron, self._zone, now)
        if last is not None and self._owed(name, last):
            if self._seconds_left(name, last) > 0 and schedule.catch_up != "never":
                self._schedule.at(now + timedelta(seconds=0.1), f"{name} (catching up)", lambda: self._fire(name, last))
            else:
                self._missed(name, last)
        self._plan_next(name)

    def _owed(self, name: str, due: Due) -> bool:
        """Say whether a due time still owes a run; what was planned only after it owes nothing."""
        schedule = self._parts.config.schedules[name]
        errands = list(self._runner.owed(schedule.jobs, Trigger(name, due.nominal)))
        with self._parts.store.transaction() as transaction:
            now = self._parts.clock()
            since = [history.known_since(transaction, errand.task, str(schedule.cron), now) for errand in errands]
        return any(due.instant >= known for known in since)

    def _missed(self, name: str, due: Due) -> None:
        _log.error("schedule.missed", schedule=name, nominal=str(due.nominal))
        identity = Identity(MISSED, self._parts.config.daemon.name, task=name)
        why = "its window is over" if self._seconds_left(name, due) <= 0 else "it is not caught up"
        summary = f"schedule {name} of {due.nominal:%Y-%m-%d %H:%M} did not run, and {why}"
        finding = Finding(identity, Severity.HIGH, summary, remedy=f"sereno now {name}")
        tell(self._parts, [finding])

    def _plan_next(self, name: str) -> None:
        schedule = self._parts.config.schedules[name]
        due = next(upcoming(schedule.cron, self._zone, self._parts.clock()), None)
        if due is not None:
            self._schedule.at(due.instant, name, lambda: self._due(name, due))
            _log.info("schedule.next", schedule=name, at=due.instant.isoformat(), nominal=str(due.nominal))

    def _due(self, name: str, due: Due) -> None:
        if self._stop.is_set():
            return
        self._plan_next(name)
        self._fire(name, due)

    def _fire(self, name: str, due: Due) -> None:
        """Run the list, its window measured from the due time. A failing state file ends it, not the service."""
        schedule = self._parts.config.schedules[name]
        left = self._seconds_left(name, due)
        try:
            if left <= 0:
                self._missed(name, due)
                return
            for _ in self._runner.run_owed(schedule.jobs, Trigger(name, due.nominal), opens_for(left)):
                if self._stop.is_set():
                    return
            if not self._runner.stop.is_set():
                tell(self._parts, [], [Coverage(MISSED, task=name)])
        except StoreError as error:
            _log.critical("schedule.broke", schedule=name, error=str(error))

    def _seconds_left(self, name: str, due: Due) -> float:
        """Return what is left of a due time's window; one that is caught up for ever has a whole one from now on."""
        schedule = self._parts.config.schedules[name]
        left = (due.instant + schedule.window - self._parts.clock()).total_seconds()
        return schedule.window.total_seconds() if left <= 0 and schedule.catch_up == "always" else left

    def _tick(self) -> None:
        """Tell again what is open and not acknowledged."""
        now = self._parts.clock()
        try:
            with self._parts.store.transaction() as transaction:
                again = repeats(book.known(transaction), self._parts.policy, now)
                outbox.enqueue(transaction, again, self._parts.config.daemon.name, None, now)
        except StoreError as error:
            _log.critical("service.tick_failed", error=str(error))
