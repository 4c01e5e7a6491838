"""The service process: owns the state, recovers, serves, reloads and stops."""

import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import structlog

from alerts.heartbeat import Heartbeat
from daemon.check_files import CheckFiles, invalid_configuration, unusable_files
from daemon.context import Context
from daemon.discovery import ask
from daemon.endpoints import COURIER_SECONDS, Endpoints
from daemon.history import history
from daemon.leading import Membership
from daemon.left_configuration import resolve_what_left
from daemon.liveness import Watchdog
from daemon.membership import record_answers
from daemon.migrating.carry_out import CarryOut
from daemon.migrating.requests import migrating_databases
from daemon.migrating.state_copy import copy_all_states
from daemon.monitoring.sd_notify import (
    notify,
    notify_reloading,
    status_text,
    under_systemd,
    watchdog_seconds,
)
from daemon.monitoring.self_check import self_check
from daemon.periodic_alerts import run_periodic_alerts
from daemon.process_signals import ENDING, SIGNALS, kill_process, received
from daemon.runs.recovery import recover_interrupted_runs
from daemon.runs.runner import FENCE_SECONDS, Runner
from daemon.scheduling.dispatcher import Dispatcher
from daemon.scheduling.probes import Probes, warn_unreachable
from daemon.scheduling.timer import BEAT_SECONDS, Timer
from daemon.state_health import StateHealth
from domain.coverage import Coverage
from domain.finding import Finding
from domain.kinds import CONFIGURATION_INVALID, PATCH_UNIT, SERVICE_FAILED
from execution.progress import NoProgress
from store.file_lock import LockHeldError
from store.store import StoreError

TICK_SECONDS = 10.0
SIGN_SECONDS = 60.0
"""A loop of the service that has not run for this long has hung."""
PATIENCE_SECONDS = 3.0
"""Another process holds the service lock only for a moment."""
START_SECONDS = 60.0
"""Under systemd a start waits longer, for example for a delivery by the command line."""
STOP_SECONDS = 9.0
PROBE_SECONDS = 60.0
COPY_SECONDS = 300.0
RENEW_SECONDS = 300.0
EXTEND = "EXTEND_TIMEOUT_USEC=5000000"
STEP_SECONDS = 2.0
TIMER, CHORES, LOOP = "the timer", "the periodic work", "the main loop"

_log = structlog.get_logger("service")


class ReloadError(Exception):
    """The configuration cannot be used; the message says why. The old one stays in force."""


class Service:
    """The service of `sereno run`."""

    def __init__(
        self,
        context: Context,
        read_again: Callable[[], Context],
        renewed: Callable[[Context], Context],
        fleet: Membership | None = None,
    ) -> None:
        """Serve with a context; `read_again` returns a new one or raises ReloadError.

        `renewed` returns a context with the databases that exist now.
        """
        self._fleet = fleet
        self._ends = fleet is None  # whether the process ends with the service
        self._context = context
        self._read_again, self._renewed = read_again, renewed
        self._stop = threading.Event()
        self._watchdog = fleet.watchdog if fleet else Watchdog()
        self._heartbeat = Heartbeat(self._audit)
        self._runner = self._made(context)
        self._health = fleet.health if fleet else StateHealth(context)
        self._dispatcher = Dispatcher(
            context, self._runner, self._heartbeat, self._health.verify, self._renew_databases
        )
        self._carrier = CarryOut(context, self._watchdog, self._dispatcher.run_in_turn)
        self._copied_at = 0.0
        self._endpoints = Endpoints(self._carrier, self._watchdog, self._health, self._problem)
        self._chore = threading.Event()
        self._closed = False
        self._since = context.clock()
        self._probed_at = 0.0
        self._changing = threading.Lock()
        self._renewed_at = float("-inf")
        self._probes = Probes()
        self._audited_at = time.monotonic()
        self._offset = self._clock_offset()
        self._check_files = CheckFiles(Path(context.config.daemon.checks))

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT.

        Raises LockHeldError if another service owns the state file, StoreError if it is unusable.
        """
        patience = START_SECONDS if under_systemd() else PATIENCE_SECONDS
        with self._context.store.owned(patience):
            self.lead()

    def lead(self) -> bool:
        """Serve as the owner of the state until SIGTERM or SIGINT.

        Return True if another worker of the fleet is to lead instead. Raises LockHeldError if
        another service owns the state now, StoreError if it is unusable.
        """
        schedule = Timer(self._beat_timer)
        try:
            self._recover()
            self._endpoints.open(self._context)
            if self._fleet is not None:
                self._dispatcher.hand_out_by(self._fleet.hand_out)
                self._fleet.begin(self._context, self._dispatcher)
            self._plan(schedule)
            notify("READY=1", f"STATUS={self._status()}")
            _log.info("service.started", schedules=list(self._dispatcher.timings))
            for work in (self._chores, partial(warn_unreachable, self._context)):
                threading.Thread(target=work, daemon=True).start()
            return self._serve(schedule)
        finally:
            self._end(schedule)

    def _recover(self) -> None:
        """Take over from the service before this one. Raises StoreError."""
        recover_interrupted_runs(self._context, leads=self._fleet is not None)
        self._carrier.recover()
        self._context.courier().take_over()
        service_failed = Coverage(SERVICE_FAILED.name, apart=(PATCH_UNIT,))
        covered = [Coverage(CONFIGURATION_INVALID.name), service_failed]
        self._context.process_findings(unusable_files(self._context), covered)
        resolve_what_left(self._context)

    def _beat_timer(self) -> None:
        if not self._stop.is_set():
            self._watchdog.beat(TIMER, 4 * BEAT_SECONDS)

    def _serve(self, schedule: Timer) -> bool:
        seconds = min(TICK_SECONDS, (watchdog_seconds() or SIGN_SECONDS) / 3)
        while True:
            self._tick(schedule)
            of_fleet = self._fleet.hand_out.displaced if self._fleet is not None else ""
            if displaced := self._health.displaced or of_fleet:
                raise LockHeldError(displaced)
            if self._fleet is not None and self._fleet.resigns() and not self._runners_at_work():
                return True
            number = received(SIGNALS, seconds)
            if number is None:
                if self._check_files.changed():
                    self._reload(schedule)
                continue
            if number != signal.SIGHUP:
                self._ends = True
                return False
            self._reload(schedule)

    def _made(self, context: Context) -> Runner:
        return Runner(context, NoProgress(), FENCE_SECONDS, self._stop, self._watchdog)

    def _runners(self) -> set[Runner]:
        """Return the runners of this configuration and of former ones that are still running."""
        return {self._runner, *self._dispatcher.busy.values(), *self._carrier.runners()}

    def _plan(self, schedule: Timer) -> None:
        for name, timing in self._dispatcher.timings.items():
            at = schedule.plan(name, timing, partial(self._dispatcher.look, name))
            _log.info("schedule.next", schedule=name, at=at and at.isoformat())

    def _reload(self, schedule: Timer) -> None:
        """Load the configuration again; runs in progress keep the old one."""
        notify_reloading()
        before = list(self._dispatcher.timings)
        try:
            context = self._read_again()
        except ReloadError as error:
            _log.error("reload.refused", error=str(error))
            self._record([invalid_configuration(self._context, error)])
        else:
            self._endpoints.close()
            context.inherit_deliveries(self._context)
            with self._changing:
                self._use(context)
            self._renewed_at = float("-inf")
            self._check_files = CheckFiles(Path(context.config.daemon.checks))
            self._reopen()
            for name in before:
                schedule.forget(name)
            self._plan(schedule)
            self._record(unusable_files(context), [Coverage(CONFIGURATION_INVALID.name)])
            with suppress(StoreError):  # the next start does it
                resolve_what_left(context)
            _log.info("service.reloaded", schedules=list(self._dispatcher.timings))
        notify("READY=1", f"STATUS={self._status()}")

    def _use(self, context: Context) -> None:
        """Use a context from now on; runs in progress keep the old one."""
        self._carrier.use(context)
        self._context, self._runner = context, self._made(context)
        self._health.use(context)
        self._dispatcher.use(context, self._runner)
        if self._fleet is not None:
            self._fleet.use(context)

    def _runners_at_work(self) -> bool:
        """Return whether something runs in this process that only the service does."""
        return any(runner.running() for runner in self._runners())

    def _renew_databases(self) -> None:
        """Look which databases the groups have, and use them from now on."""
        context = self._context
        try:
            answers = ask(context)
            with self._changing:
                if self._context.written is not context.written:
                    return  # a reload has other groups; they are asked soon
                record_answers(context, answers)
                fresh = self._renewed(self._context)
                before = (self._context.config.databases, self._context.missing)
                if (fresh.config.databases, fresh.missing) != before:
                    self._use(fresh)
                    self._endpoints.use(fresh)
                    resolve_what_left(fresh)
        except StoreError as error:
            _log.error("discovery.not_recorded", error=str(error))

    def _reopen(self) -> None:
        """Retry starting deliveries after a locked or full state file."""
        try:
            self._endpoints.open(self._context)
            self._closed = False
        except StoreError as error:
            self._endpoints.close()
            self._closed = True
            _log.critical("service.delivery_unavailable", error=str(error))

    def _tick(self, schedule: Timer) -> None:
        """Watch the clock and the threads; work that needs the state file is done elsewhere."""
        self._watchdog.beat(LOOP, SIGN_SECONDS)
        offset = self._clock_offset()
        if abs(offset - self._offset) > STEP_SECONDS:
            _log.warning("clock.stepped", seconds=round(offset - self._offset, 1))
            self._plan(schedule)
            schedule.restart_heartbeat()
        self._offset = offset
        schedule.wake()
        wrong = self._watchdog.silent()
        if wrong:
            _log.critical("service.hung", reason=wrong)
        notify(*(() if wrong else ("WATCHDOG=1",)), f"STATUS={wrong or self._status()}")
        self._chore.set()

    def _chores(self) -> None:
        """After each tick: due schedules, periodic alerts, unreachable servers, heartbeat."""
        while not self._stop.is_set():
            self._watchdog.beat(CHORES, COURIER_SECONDS)
            if not self._chore.wait(SIGN_SECONDS):
                continue
            self._chore.clear()
            try:
                if not self._health.verify():
                    self._refresh_state()
            except StoreError as error:
                _log.critical("service.tick_failed", error=str(error))

    def _refresh_state(self) -> None:
        self._dispatcher.look_at_all_schedules()
        if self._closed:
            self._reopen()
        run_periodic_alerts(self._context, self._since)
        self._follow_migrations()
        if time.monotonic() - self._renewed_at >= RENEW_SECONDS:
            self._renewed_at = time.monotonic()
            threading.Thread(target=self._renew_databases, name="discovery", daemon=True).start()
        if time.monotonic() - self._probed_at >= PROBE_SECONDS:
            self._probed_at = time.monotonic()
            busy = {
                task.database for runner in self._runners() for task in runner.running().values()
            }
            self._probes.start(self._context, busy)
        if (
            time.monotonic() - self._audited_at
            >= self._context.config.heartbeat.every.total_seconds()
        ):
            self._audited_at = time.monotonic()
            self._heartbeat.end(self._context.config.heartbeat.url, [])

    def _follow_migrations(self) -> None:
        """Begin requests that wait, and copy the ledgers now and then. Raises StoreError."""
        if self._context.config.web.listen:
            self._carrier.look()
        if time.monotonic() - self._copied_at >= COPY_SECONDS or not self._copied_at:
            self._copied_at = time.monotonic()
            if migrating_databases(self._context):
                threading.Thread(
                    target=copy_all_states, args=(self._context,), name="ledgers", daemon=True
                ).start()

    def _record(self, findings: Sequence[Finding], coverage: Sequence[Coverage] = ()) -> None:
        """Process findings; if they cannot be stored, log them."""
        try:
            self._context.process_findings(findings, coverage)
        except StoreError as error:
            _log.critical(
                "alert.not_recorded",
                findings=[finding.summary for finding in findings],
                error=str(error),
            )
            for finding in findings:
                self._health.send_unrecorded(finding)

    def _problem(self) -> str:
        """Return why the service does not do its work; empty if it does."""
        return self._watchdog.silent() or self._health.problem

    def _audit(self) -> list[str]:
        problem = self._problem()
        return [
            *([problem] if problem else []),
            *self_check(self._context, self._dispatcher.busy.keys()),
        ]

    def _status(self) -> str:
        running_tasks = [task for runner in self._runners() for task in runner.running().values()]
        return status_text(running_tasks, self._dispatcher.timings, self._context.clock())

    @staticmethod
    def _clock_offset() -> float:
        return time.time() - time.monotonic()

    def _end(self, schedule: Timer) -> None:
        """Cancel running statements, record their ends, and stop within ten seconds."""
        _log.info("service.stopping")
        if self._ends:
            notify("STOPPING=1", "STATUS=stopping: cancelling running statements", EXTEND)
        self._stop.set()
        deadline = time.monotonic() + STOP_SECONDS
        cancels = [
            threading.Thread(target=runner.cancel, daemon=True) for runner in self._runners()
        ]
        shutdown = threading.Thread(target=self._shut_down, args=(schedule,), daemon=True)
        for thread in (*cancels, shutdown):
            thread.start()
        while self._is_busy(shutdown) and time.monotonic() < deadline:
            if not self._ends:
                time.sleep(0.1)
                continue
            notify(EXTEND)
            if received(ENDING, 0.1) is not None:
                _log.warning("service.cut_short", reason="a second signal")
                kill_process()
        if self._is_busy(shutdown):
            self._cut_short()
        for name in (TIMER, CHORES, LOOP):  # the process may go on as a worker of the fleet
            self._watchdog.end(name)
        _log.info("service.stopped")

    def _is_busy(self, shutdown: threading.Thread) -> bool:
        runs = self._dispatcher.busy or self._carrier.runners()
        return bool(runs) or shutdown.is_alive()

    def _cut_short(self) -> None:
        """Record the runs that did not end in time; the server ends their statements by itself."""
        _log.error("service.cut_short", reason=f"still running after {STOP_SECONDS:.0f} s")
        numbers = [number for runner in self._runners() for number in runner.running()]
        try:
            with self._context.store.transaction() as transaction:
                for number in numbers:
                    history.mark_interrupted(
                        transaction,
                        number,
                        "stopped before the server answered",
                        self._context.clock(),
                    )
        except StoreError as error:
            _log.critical("run.unrecorded", runs=numbers, error=str(error))

    def _shut_down(self, schedule: Timer) -> None:
        self._dispatcher.stop()
        self._carrier.stop()
        self._heartbeat.stop()
        self._endpoints.close()
        schedule.stop()  # waits for a look that is being done
