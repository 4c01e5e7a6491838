"""A member of a fleet: it takes errands, and leads when no other member does."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import version

import structlog

from daemon.check_files import invalid_configuration
from daemon.config.digest import digest_of
from daemon.context import Context
from daemon.endpoints import Endpoints
from daemon.exit_codes import Exit
from daemon.fleet.errands import Errands
from daemon.fleet.leader import HandOut, Signs
from daemon.fleet.queue import Taker, prepare
from daemon.history import fleet, history
from daemon.history.worker import this_worker
from daemon.liveness import Watchdog
from daemon.migrating.carry_out import CarryOut
from daemon.monitoring.sd_notify import notify, notify_reloading
from daemon.process_signals import SIGNALS, received
from daemon.runs.recovery import close_unrecorded_runs
from daemon.scheduling.hand_out import Admission
from daemon.service import TICK_SECONDS, ReloadError, Service
from daemon.state_health import StateHealth
from domain.coverage import Coverage
from domain.kinds import CONFIGURATION_INVALID
from store.file_lock import LockHeldError
from store.state_database import DatabaseStore
from store.store import StoreError

TRY_SECONDS = 2.0
"""How often a member tries to lead."""
RENEW_SECONDS = 60.0
STOP_SECONDS = 9.0

_log = structlog.get_logger("fleet")


class NameTakenError(Exception):
    """Another process is the worker of this name."""


class Member:
    """The process of `sereno run --worker`."""

    def __init__(
        self,
        context: Context,
        name: str,
        read_again: Callable[[], Context],
        renewed: Callable[[Context], Context],
    ) -> None:
        """Be the worker `name`; the functions are those of Service."""
        self._context, self._name = context, name
        self._read_again, self._renewed = read_again, renewed
        self.watchdog = Watchdog()
        self._draining = self._alone = False
        options = context.config.fleet
        self._about = (version("sereno"), options.worker_at_once, digest_of(context.written))
        self._stalled_after = options.stalled_after
        assert isinstance(context.store, DatabaseStore)  # noqa: S101 - the command line has looked
        self._store = context.store
        seconds = options.stalled_after.total_seconds() / 5
        self._taker = Taker(self._store, options.worker_at_once, seconds)
        self._errands = Errands(context, renewed, self.watchdog)
        self._health = StateHealth(context, looks=False)
        self._leader_signs, self._signs = Signs(), Signs()
        self._renewed_at = self._out_at = float("-inf")
        self._hand_out = HandOut(context, self.watchdog)

    def run(self) -> None:
        """Work until SIGTERM or SIGINT.

        Raises StoreError if the state is unusable at the start, NameTakenError.
        """
        prepare(self._store)
        self._register()
        taking = threading.Thread(target=self._take, name="taker", daemon=True)
        taking.start()
        threading.Thread(target=self._watch_queue, name="queue watch", daemon=True).start()
        _log.info("fleet.joined", worker=self._name)
        try:
            seconds = 0.0
            while (owned := self._follow(seconds)) is not None:
                with owned:
                    if not self._lead():
                        return
                seconds = TRY_SECONDS  # leading may have failed at once
        finally:
            self._end(taking)

    @property
    def hand_out(self) -> HandOut:
        """Return the way to the workers while this member leads."""
        return self._hand_out

    @property
    def health(self) -> StateHealth:
        """Return the health of the state, as this process knows it."""
        return self._health

    def begin(self, context: Context, admission: Admission) -> None:
        """Look after the workers from now on, as their leader."""
        self._hand_out.begin(context, admission)

    def use(self, context: Context) -> None:
        """Use another configuration from now on; runs in progress keep the old one."""
        self._context = context
        self._about = (*self._about[:2], digest_of(context.written))
        self._health.use(context)
        self._errands.use(context)
        self._hand_out.use(context)

    def _renew(self) -> None:
        """Use the databases that exist now; while the state cannot be read, those known before."""
        with suppress(StoreError):
            fresh = self._renewed(self._context)
            before = (self._context.config.databases, self._context.missing)
            if (fresh.config.databases, fresh.missing) != before:
                self.use(fresh)

    def resigns(self) -> bool:
        """Return whether another worker is to lead: this one is drained."""
        return self._draining and not self._alone

    def _register(self) -> None:
        """Record the first sign of life. Raises NameTakenError, StoreError."""
        with self._store.transaction() as transaction:
            for one in fleet.load_workers(transaction):
                process = one.worker
                if one.name != self._name or process is None or process == this_worker():
                    continue
                fresh = self._context.clock() - one.seen_at < self._stalled_after
                running = process.is_running()
                if running or (running is None and fresh):
                    raise NameTakenError(
                        f"the worker {self._name} is {process.name}; give this one a name of its "
                        f"own: sereno run --worker --as NAME"
                    )
        self._sign()
        covered = [Coverage(CONFIGURATION_INVALID.name, object=self._name)]
        self._context.process_findings([], covered)

    def _sign(self) -> None:
        """Record a sign of life, and learn whether this worker is drained. Raises StoreError."""
        process = str(this_worker())
        with self._store.transaction() as transaction:
            fleet.sign(transaction, self._name, process, self._about, self._context.clock())
            workers = fleet.load_workers(transaction)
        draining = any(one.draining for one in workers if one.name == self._name)
        if draining != self._draining:
            self._draining = draining
            _log.info("fleet.drained" if draining else "fleet.undrained", worker=self._name)
        silent = self._signs.silent(workers, self._stalled_after)
        others = [one for one in workers if one.name not in {self._name, *silent}]
        self._alone = not any(one.process and not one.draining for one in others)
        close_unrecorded_runs(self._context)

    def _take(self) -> None:
        self._taker.run(self._errands.do, self._sign, lambda: not self._draining)

    def _watch_queue(self) -> None:
        """End the process if a fetch hangs: a new one opens new connections."""
        while not self._errands.stop.wait(TRY_SECONDS):
            if self._taker.hangs():
                _log.critical("queue.hung", reason="a fetch has not ended; the process ends")
                self._errands.cancel()
                os._exit(Exit.CANNOT)

    def _lead(self) -> bool:
        """Be the service; return whether the process goes on as a worker."""
        _log.info("fleet.leads", worker=self._name)
        self._renew()
        self._hand_out = HandOut(self._context, self.watchdog)
        if time.monotonic() - self._out_at < self._stalled_after.total_seconds():
            self._hand_out.hold()
        self._health.displaced, self._health.looks = "", True
        try:
            return Service(self._context, self._read_again, self._renewed, self).lead()
        except LockHeldError as error:
            _log.warning("fleet.displaced", reason=str(error))
            self._health.problem = ""  # the state can be used: it is another one's
            return True
        except StoreError as error:
            _log.warning("fleet.cannot_lead", reason=str(error))
            return True
        finally:
            _log.info("fleet.leads_no_more", worker=self._name)
            self._health.looks = False
            self._hand_out.close()

    def _owned(self) -> ExitStack | None:
        """Own the state if nobody does, until the returned stack is closed."""
        stack = ExitStack()
        try:
            if self.resigns():
                return None
            try:
                stack.enter_context(self._store.owned())
            except LockHeldError:
                self._displace_frozen_leader()
            else:
                return stack
        except StoreError as error:
            _log.warning("fleet.cannot_lead", reason=str(error))
            self._leader_signs = Signs()  # in an outage nobody can give a sign
            self._out_at = time.monotonic()
        return None

    def _displace_frozen_leader(self) -> None:
        """End the leadership of a process that gives no sign of life. Raises StoreError."""
        with self._store.reading() as transaction:
            leader = history.load_service(transaction)
            workers = [one for one in fleet.load_workers(transaction) if one.process == leader]
        if self._leader_signs.silent(workers, self._stalled_after):
            _log.warning("fleet.leader_silent", worker=workers[0].name)
            self._store.displace()

    def _follow(self, seconds: float) -> ExitStack | None:
        """Answer requests and watch the state until this member may lead; None to end.

        The first try to lead comes after so many seconds.
        """
        while True:
            with self._answering() as endpoints:
                owned, number = None, None
                while number is None and owned is None:
                    self._tell_systemd()
                    self._keep_up(endpoints)
                    number = received(SIGNALS, seconds)
                    seconds = TRY_SECONDS
                    if number is None:
                        owned = self._owned()
            if number == signal.SIGHUP:
                self._reload()
            else:
                return owned

    @contextmanager
    def _answering(self) -> Iterator[Endpoints]:
        """Answer requests and watch the state for the body."""
        health, over = self._health, threading.Event()
        carrier = CarryOut(self._context, self.watchdog, leads=False)
        endpoints = Endpoints(
            carrier,
            self.watchdog,
            health,
            lambda: self.watchdog.silent() or health.problem,
            delivers=False,
        )
        threading.Thread(target=_watch_state, args=(health, over), daemon=True).start()
        try:
            endpoints.open(self._context)
            yield endpoints
        finally:
            over.set()
            endpoints.close()

    def _keep_up(self, endpoints: Endpoints) -> None:
        """Look now and then which databases the leader has found."""
        if time.monotonic() - self._renewed_at >= RENEW_SECONDS:
            self._renewed_at = time.monotonic()
            self._renew()
            endpoints.use(self._context)

    def _tell_systemd(self) -> None:
        wrong = self.watchdog.silent()
        running = self._errands.running()
        runs = ", ".join(f"{task.job} {task.database}" for task in running) or "idle"
        alive = () if wrong else ("WATCHDOG=1",)
        notify("READY=1", *alive, f"STATUS={wrong or f'worker {self._name}: {runs}'}")

    def _reload(self) -> None:
        """Load the configuration again; runs in progress keep the old one."""
        notify_reloading()
        try:
            self.use(self._read_again())
            _log.info("service.reloaded", worker=self._name)
            findings = []
        except ReloadError as error:
            _log.error("reload.refused", error=str(error))
            findings = [invalid_configuration(self._context, error, self._name)]
        with suppress(StoreError):  # the log tells it
            covered = [Coverage(CONFIGURATION_INVALID.name, object=self._name)]
            self._context.process_findings(findings, covered)

    def _end(self, taking: threading.Thread) -> None:
        """Give errands in progress back, and leave the fleet."""
        _log.info("fleet.stopping", worker=self._name)
        deadline = time.monotonic() + STOP_SECONDS
        threading.Thread(target=self._errands.cancel, daemon=True).start()
        self._taker.stop()
        taking.join(max(0.0, deadline - time.monotonic()))
        with suppress(StoreError), self._store.transaction() as transaction:
            fleet.leave(transaction, self._name, str(this_worker()))
        _log.info("fleet.stopped", worker=self._name)


def _watch_state(health: StateHealth, over: threading.Event) -> None:
    """Check the state until it is over; an outage is told from memory."""
    while not over.wait(TICK_SECONDS):
        with suppress(StoreError):
            health.verify()
