"""The leader's part: offers errands, learns their ends, and gives those of lost workers again."""

import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import timedelta

import structlog

from daemon.context import Context
from daemon.fleet.errand import Errand, from_json
from daemon.fleet.queue import Offers
from daemon.history import fleet, history
from daemon.history.fleet import FleetWorker
from daemon.history.worker import this_worker
from daemon.liveness import Watchdog
from daemon.runs.recovery import interrupt_runs
from daemon.scheduling.hand_out import Admission
from daemon.scheduling.places import Elsewhere
from domain.coverage import Coverage
from domain.finding import Finding, Identity, Severity
from domain.kinds import WORKER_SILENT
from domain.task import Task
from execution.window import Window, open_window
from store.store import DisplacedError, StoreError, Transaction

LOOK_SECONDS = 0.1
IDLE_SECONDS = 1.0
HUNG_SECONDS = 300.0
TELL_SECONDS = 60.0
LOOK = "the look at errands"
RETRY_SECONDS = 2.0

_log = structlog.get_logger("fleet")


class Signs:
    """The signs of life of the workers, timed by the clock of this process: theirs may differ."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._seen: dict[tuple[str, str], tuple[object, float]] = {}

    def silent(self, workers: Sequence[FleetWorker], after: timedelta) -> set[str]:
        """Return the names of the workers whose last sign has not changed for so long."""
        now, seen = self._now(), self._seen
        self._seen = {}
        for one in workers:
            key = (one.name, one.process)
            former = seen.get(key)
            same = former is not None and former[0] == one.seen_at
            self._seen[key] = former if former is not None and same else (one.seen_at, now)
        return {
            name
            for (name, process), (_, since) in self._seen.items()
            if process and now - since >= after.total_seconds()
        }


class HandOut:
    """Hands errands to the workers while this process leads."""

    def __init__(self, context: Context, watchdog: Watchdog) -> None:
        self._context, self._watchdog = context, watchdog
        self._offers, self._signs = Offers(), Signs()
        self._given: dict[int, Elsewhere] = {}
        self._silent: set[str] | None = None
        self._tells_from = float("-inf")
        """Before that a worker that was silent for a former leader cannot be told from another."""
        self._holds_until = float("-inf")
        self._told_at = float("-inf")
        self._at_once = self._applied = 0
        self.displaced = ""
        """That another worker leads now; empty if not."""
        self._guard = threading.Lock()
        self._closed = threading.Event()

    @property
    def at_once(self) -> int:
        """Return how many errands the workers take at once, all together."""
        return self._at_once

    def adopt(self) -> Iterator[tuple[list[Task], Window, Elsewhere]]:
        """Yield the offers of a former leader, each with its end. Raises StoreError."""
        self._count_workers(self._load(), ())
        self._applied = self._at_once
        with self._context.store.reading() as transaction:
            offered = self._offers.open(transaction)
        for number, values in offered.items():
            errand, end = from_json(values.errand), self._given.setdefault(number, Future())
            left = (errand.ends_at - self._context.clock()).total_seconds()
            yield list(errand.tasks), open_window(max(0.0, left), errand.window_seconds), end

    def begin(self, context: Context, admission: Admission) -> None:
        """Learn ends and look after the workers from now on."""
        self._context = context
        arguments = (admission,)
        stalled_after = context.config.fleet.stalled_after
        tells_from = time.monotonic() + 1.2 * stalled_after.total_seconds()
        self._tells_from = max(self._tells_from, tells_from)
        threading.Thread(target=self._look_on, args=arguments, name="errands", daemon=True).start()

    def use(self, context: Context) -> None:
        """Use another configuration from now on."""
        self._context = context

    def offer(self, tasks: Sequence[Task], window: Window) -> Elsewhere | None:
        """Offer the tasks of a database to the workers; return their end.

        While the state cannot be used it is tried again; None if this process stops to lead.
        """
        ends_at = self._context.clock() + timedelta(seconds=min(window.left(), window.length))
        errand, end = Errand(tasks, ends_at, window.length), Elsewhere()
        while not self._closed.is_set():
            try:
                with self._leading() as transaction:
                    number = self._offers.offer(transaction, errand.to_json())
            except DisplacedError as error:
                self.displaced = str(error)
                self._closed.wait()
                return None
            except StoreError as error:
                _log.warning("errand.not_offered", database=errand.database, reason=str(error))
                self._closed.wait(RETRY_SECONDS)
                continue
            with self._guard:
                if not self._closed.is_set():
                    self._given[number] = end
                    return end
        return None

    def hold(self) -> None:
        """Count nobody as silent for a while: in an outage of the state no sign could be given."""
        self._signs = Signs()
        stalled_after = self._context.config.fleet.stalled_after.total_seconds()
        self._holds_until = time.monotonic() + stalled_after
        self._tells_from = max(self._tells_from, time.monotonic() + 1.5 * stalled_after)

    def close(self) -> None:
        """Leave the offers to the next leader; for this one they have ended."""
        self._closed.set()
        with self._guard:
            given = list(self._given.values())
            self._given.clear()
        for end in given:
            end.set_result(True)

    @contextmanager
    def _leading(self) -> Iterator[Transaction]:
        """Open a transaction of the state. Raises DisplacedError if another process leads now."""
        store = self._context.store
        with store.transaction() as transaction:
            if history.load_service(transaction) != str(this_worker()):
                raise DisplacedError(f"{store.name}: another worker leads now")
            yield transaction

    def _load(self) -> list[FleetWorker]:
        with self._context.store.reading() as transaction:
            return fleet.load_workers(transaction)

    def _look_on(self, admission: Admission) -> None:
        options = self._context.config.fleet
        every, swept = options.stalled_after.total_seconds() / 10, float("-inf")
        while not self._closed.wait(LOOK_SECONDS if self._given else IDLE_SECONDS):
            self._watchdog.beat(LOOK, HUNG_SECONDS)
            try:
                self._learn_ends(admission)
                if time.monotonic() - swept >= every:
                    swept = time.monotonic()
                    self._sweep(options.stalled_after)
                    if self._at_once != self._applied:
                        admission.renew_limits()
                        self._applied = self._at_once
            except DisplacedError as error:
                self.displaced = str(error)
                break
            except StoreError as error:
                _log.warning("fleet.not_looked_at", reason=str(error))
                self.hold()
                self._closed.wait(IDLE_SECONDS)
        self._watchdog.end(LOOK)

    def _learn_ends(self, admission: Admission) -> None:
        """End the offers that are in the queue no more; those put off leave their places."""
        with self._guard:
            given = dict(self._given)  # before the look: what is offered meanwhile is not in it
        if not given:
            return
        with self._context.store.reading() as transaction:
            offered = self._offers.open(transaction)
        for number, end in given.items():
            if number not in offered:
                self._end(number, done=True)
            else:
                one = offered[number]
                admission.put_off(end, until_later=one.put_off, down=one.down)

    def _end(self, number: int, *, done: bool) -> None:
        with self._guard:
            end = self._given.pop(number, None)
        if end is not None:
            end.set_result(done)

    def _sweep(self, stalled_after: timedelta) -> None:
        """Take back the errands of silent workers, end their runs, and tell about them."""
        with self._leading() as transaction:
            workers = fleet.load_workers(transaction)
            if self._is_after_outage(workers, stalled_after):
                self.hold()
            holds = time.monotonic() < self._holds_until
            silent = self._signs.silent(workers, stalled_after)
            stalled = []
            if not holds:
                stalled = self._offers.stalled(transaction, stalled_after.total_seconds())
                live = {one.process for one in workers if one.name not in silent}
                names = {one.process: one.name for one in workers}
                interrupt_runs(self._context, transaction, live, names)
            tells = not holds and self._tells_now(silent)
            if tells:
                self._tell(transaction, workers, silent)
        if tells:
            self._silent, self._told_at = silent, time.monotonic()
        for number in stalled:
            self._take_back(number)
        self._count_workers(workers, silent)

    def _tells_now(self, silent: set[str]) -> bool:
        """Return whether the alerts are to be processed: at a change, and once a minute."""
        now = time.monotonic()
        again = bool(silent) and now - self._told_at >= TELL_SECONDS
        return now >= self._tells_from and (silent != self._silent or again)

    def _is_after_outage(self, workers: Sequence[FleetWorker], stalled_after: timedelta) -> bool:
        """Return whether not even this process could give a sign of life lately."""
        here, now = str(this_worker()), self._context.clock()
        signs = [one.seen_at for one in workers if one.process == here]
        return not signs or now - signs[0] > stalled_after * 0.8

    def _take_back(self, number: int) -> None:
        try:
            with self._leading() as transaction:
                self._offers.withdraw(transaction, number)
        except StoreError:  # it has ended at this moment; or another look takes it back
            return
        _log.warning("errand.stalled", errand=number)
        self._end(number, done=False)

    def _count_workers(self, workers: Sequence[FleetWorker], silent: Collection[str]) -> None:
        at_work = [one for one in workers if one.process and one.name not in silent]
        self._at_once = sum(one.at_once for one in at_work if not one.draining)

    def _tell(
        self, transaction: Transaction, workers: Sequence[FleetWorker], silent: Collection[str]
    ) -> None:
        """Alert about the workers that are silent now; the others' alerts end."""
        findings = []
        for one in workers:
            if one.name not in silent:
                continue
            identity = Identity(
                WORKER_SILENT.name, self._context.config.daemon.name, object=one.name
            )
            process = one.worker
            summary = (
                f"worker {one.name} ({process.name if process else 'unknown'}) has given no sign "
                "of life; its work is given to others"
            )
            remedy = f"look at its machine; if it is gone for good: sereno fleet drain {one.name}"
            findings.append(Finding(identity, Severity.WARNING, summary, remedy=remedy))
        covered = [Coverage(WORKER_SILENT.name, final=True)]
        self._context.processor(transaction).process(findings, covered)
