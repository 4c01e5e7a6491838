"""One run: connect, lock, claim, observe, plan, execute, judge, record."""

import os
import socket
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from typing import Protocol

import psycopg
import structlog

from daemon.context import Context
from daemon.history import requests
from daemon.liveness import Watchdog
from daemon.runs.lanes import lanes_of
from daemon.runs.recorder import Recorder
from daemon.runs.recovery import LIVE_RUNS
from daemon.runs.result import RunResult, RunState, summarize
from daemon.runs.retries import Tries
from daemon.runs.run_context import RunContext
from daemon.runs.sessions import Sessions
from daemon.runs.stored_progress import StoredProgress
from daemon.runs.workers import Workers
from domain.cause import Cause
from domain.place import Place
from domain.task import Scope, Task
from execution.control import RunLimits, Stop
from execution.errors import first_line
from execution.executor import Executor, StepResult
from execution.progress import Progress
from execution.step import Status, Step
from execution.window import Window, open_window
from postgres.fencing import advisory_locks, run_claims
from postgres.fencing.run_claims import Claim, SettledClaim
from postgres.session import (
    MAINTAIN,
    Login,
    LostError,
    Session,
    TargetError,
    UnreachableError,
    is_lost,
)
from store.file_lock import LockHeldError, exclusive_lock
from store.store import StoreError

FENCE_SECONDS = 20.0
"""A dead predecessor's sessions have ended by then: keepalives take 11 s, a pending answer 15 s."""
MOST_ENDED_SESSIONS = 3
"""After this many ended sessions of a login, while the server went on, its steps are given up."""
HUNG_SECONDS = 1800.0
"""A run that has not reported for this long has hung; a host check asks many servers."""

NO_END = open_window(None)
"""The health report has no window."""

_log = structlog.get_logger("runner")


class Aside(Protocol):
    """Leaves the turn of a run to another."""

    def __call__(self, beat: Callable[[], None], *, down: bool) -> AbstractContextManager[None]:
        """Leave it for the body; `beat` tells the watchdog that the run lives meanwhile.

        `down` tells that the whole server does not answer.
        """


def _stay(beat: Callable[[], None], *, down: bool) -> AbstractContextManager[None]:  # noqa: ARG001
    """Keep the turn: there is no other."""
    return nullcontext()


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """The result of a run for its caller."""

    number: int
    job: str
    database: str
    state: RunState
    reason: str
    cause: Cause | None = None
    down: bool = False
    """Whether the whole server did not answer."""


class Runner:
    """Runs tasks, each in the calling thread; other threads may cancel."""

    def __init__(
        self,
        context: Context,
        progress: Progress,
        patience_seconds: float = FENCE_SECONDS,
        stop: threading.Event | None = None,
        watchdog: Watchdog | None = None,
    ) -> None:
        self._context = context
        self._patience = patience_seconds
        self.stop = stop or threading.Event()
        self._watchdog = watchdog or Watchdog()
        self._sessions = Sessions(context, self.stop)
        self._run_context = RunContext(context, self._sessions, progress)
        self._at_work: dict[int, Task] = {}
        self.aside: Aside = _stay
        """Entered while a run waits for its server, so that another may work meanwhile."""
        self.tries_at_most: float = inf
        """After so many tries to reach its server a run ends as interrupted: it is still owed."""

    def cancel(self) -> None:
        """End all runs: running statements are cancelled, finished steps stay recorded."""
        self.stop.set()
        self._sessions.cancel()

    def cancel_in_background(self) -> None:
        """Cancel from another thread, so that the caller does not wait for a server."""
        self.stop.set()
        threading.Thread(target=self.cancel, name="cancel", daemon=True).start()

    def running(self) -> Mapping[int, Task]:
        """Return the running tasks by run number."""
        return dict(self._at_work)

    def run(self, task: Task, window: Window) -> FinishedRun:
        """Run one task and record its result. Raises StoreError if that cannot be recorded."""
        recorder = Recorder(self._context, task)
        try:
            return self._recorded(task, window, recorder)
        finally:
            LIVE_RUNS.discard(recorder.number)

    def _recorded(self, task: Task, window: Window, recorder: Recorder) -> FinishedRun:
        number = recorder.number
        log = _log.bind(task=task.job, database=task.database, run=number)
        log.info("run.started", schedule=task.trigger.schedule, nominal=task.trigger.minute())
        self._at_work[number] = task
        try:
            end = self._persist(
                task, window if task.scope is not Scope.SERVICE else NO_END, recorder
            )
        finally:
            del self._at_work[number]
            self._watchdog.end(_sign(number))
        recorder.finish(end)
        log.info("run.finished", state=end.state.value, reason=end.reason, steps_left=end.left)
        return FinishedRun(
            number, task.job, task.database, end.state, end.reason, end.cause, end.down
        )

    def _persist(self, task: Task, window: Window, recorder: Recorder) -> RunResult:
        """Retry an unreachable server throughout the window.

        A run started by a person fails at once.
        """
        tries = Tries(task, window, recorder, self.tries_at_most)
        while True:
            self._alive(recorder.number)
            try:
                return self._outcome_of_errors(partial(self._attempt, task, window, recorder))
            except UnreachableError as error:
                if (end := tries.end(error)) is not None:
                    return end
                down = error.of_server
            except TargetError as error:
                return RunResult(RunState.FAILED, str(error), cause=error.cause)
            with self.aside(partial(self._alive, recorder.number), down=down):
                self.stop.wait(tries.wait)
            if self.stop.is_set():
                return _INTERRUPTED

    def _attempt(self, task: Task, window: Window, recorder: Recorder) -> RunResult:
        if task.scope is not Scope.DATABASE:
            with exclusive_lock(self._context.store.job_lock(task.job)):
                return self._work(task, window, recorder, None)
        patience = self._patience if task.trigger.schedule is None else window.left()

        def stopped() -> bool:
            self._alive(recorder.number)
            return self.stop.is_set()

        with self._sessions.open(task.database, self._context.jobs[task.job]) as coordinator:
            self._sessions.verify_server(coordinator)
            recorder.reached()
            if not self._sessions.is_prepared(coordinator) and self._context.jobs[task.job].deletes:
                why = "the database is not installed: no row is deleted or archived there"
                return RunResult(RunState.SKIPPED, why, cause=Cause.NOT_INSTALLED)
            if not self._context.jobs[task.job].read_only:
                self._sessions.verify_history(coordinator)
            with self._context.jobs[task.job].fence(coordinator, patience, stopped):
                return self._claimed(task, window, recorder, coordinator)

    def _claimed(
        self, task: Task, window: Window, recorder: Recorder, coordinator: Session
    ) -> RunResult:
        """Run unless another sereno has; a refusal of this instance alone leaves the claim open."""
        claim = self._claim(task)
        if claim is None:
            return self._work(task, window, recorder, coordinator)
        process = f"{socket.gethostname()}, process {os.getpid()}"
        who = run_claims.claimant(process, self._context.store.instance())
        unavailable = run_claims.unavailable_reason(coordinator)
        if unavailable:
            _log.warning("claims.unavailable", database=task.database, reason=unavailable)
        settled = run_claims.claim_run(coordinator, claim, who)
        if settled is not None:
            by = f"by {settled.by}" + (f": {settled.reason}" if settled.reason else "")
            return RunResult(RunState(settled.state), by, settled.steps_left)
        try:
            end = self._outcome_of_errors(partial(self._work, task, window, recorder, coordinator))
        except TargetError as refused:
            if isinstance(refused, UnreachableError):
                raise
            return RunResult(RunState.FAILED, str(refused), cause=Cause.REFUSED)
        run_claims.settle_claim(
            coordinator, claim, SettledClaim(end.state.value, end.reason, end.left, who)
        )
        return end

    def _claim(self, task: Task) -> Claim | None:
        schedule, nominal = task.trigger.schedule, task.trigger.minute()
        if schedule is None or nominal is None:
            return None
        return Claim(
            self._context.config.daemon.name, schedule, task.job, task.scope.value, nominal
        )

    def _work(
        self, task: Task, window: Window, recorder: Recorder, coordinator: Session | None
    ) -> RunResult:
        """Plan and execute; a step whose session was terminated fails, and the others go on.

        Code of a table's owner can end its own session: after a few times no step of its login is
        tried any more.
        """
        outcomes: list[StepResult] = []
        steps: Sequence[Step] | None = None
        ended_sessions: Counter[tuple[Login, ...]] = Counter()
        while True:
            ended = self._execute(task, window, recorder, coordinator, steps)
            kept, lost = _split(ended)
            outcomes += kept
            if not lost:
                return summarize(outcomes)
            if self._context.jobs[task.job].ordered:
                raise LostError(f"{task.database}: {lost[0][1].reason}")
            step, outcome = lost[0]
            if coordinator is None or not coordinator.answers():
                raise LostError(f"{task.database}: {outcome.reason}")
            ended_sessions[step.logins] += 1
            dropped = [step]
            if ended_sessions[step.logins] > MOST_ENDED_SESSIONS:
                dropped = _with_logins(step.logins, lost)
            why = f"its session ended: {outcome.reason}"
            result = replace(outcome, status=Status.FAILED, reason=why, stop=None)
            failed = [(one, result) for one in dropped]
            recorder.steps(failed, self._place(task, coordinator))
            outcomes += failed
            steps = [one for one, _ in lost if one not in dropped]

    def _execute(
        self,
        task: Task,
        window: Window,
        recorder: Recorder,
        coordinator: Session | None,
        steps: Sequence[Step] | None,
    ) -> list[StepResult]:
        """Execute the steps, or those of a new plan; record all but those of a lost session."""
        job = self._context.jobs[task.job]
        workers: Workers | None = None
        with ExitStack() as stack:
            lanes: Mapping[Login, Sequence[Session | None]] = {MAINTAIN: [None]}
            if coordinator is not None:
                workers = Workers(self._sessions, self._context, task, coordinator, stack)
            if steps is None:
                steps = job.plan(job.observe(self._run_context.job_inputs(task, workers)))
            if workers is not None:
                lanes = workers.lanes(steps, lanes_of(self._context.config, job))
            alive = partial(self._alive, recorder.number)
            terms = self._run_context.terms(window, coordinator, alive, counted=not job.read_only)
            if job.on_request:
                terms = self._requested(terms, recorder.number, stack)
            place = self._place(task, coordinator)

            def execute(some: Sequence[Step]) -> list[StepResult]:
                ended: list[StepResult] = []
                for batch in Executor(terms, lanes).run(some, ordered=job.ordered):
                    ended += batch
                    recorder.steps([one for one in batch if one[1].stop is not Stop.LOST], place)
                return ended

            outcomes = execute(steps)
            if job.recover is not None:
                inputs = self._run_context.job_inputs(task, workers)
                outcomes += execute(job.recover(inputs, outcomes))
        if workers is not None:
            recorder.logins(workers.check_logins())
        return outcomes

    def _requested(self, terms: RunLimits, run: int, stack: ExitStack) -> RunLimits:
        """Return the limits of a run on request: it does not wait for itself, and is watched."""
        context = self._context
        stored = StoredProgress(context.store, context.clock, run, terms.progress)
        stack.enter_context(stored)
        limits = replace(terms.limits, migrations=False)
        return replace(terms, limits=limits, progress=stored)

    def _place(self, task: Task, coordinator: Session | None) -> Place:
        cluster = coordinator.facts.system_identifier if coordinator is not None else ""
        return Place(self._context.config.daemon.name, cluster, task.database)

    def _outcome_of_errors(self, work: Callable[[], RunResult]) -> RunResult:
        """Turn exceptions into results. Raises UnreachableError and TargetError."""
        try:
            return work()
        except TargetError:
            raise
        except advisory_locks.Stopped:
            return _INTERRUPTED
        except advisory_locks.ForeignHolderError as error:
            return RunResult(RunState.FAILED, str(error), cause=Cause.FOREIGN_LOCK_HOLDER)
        except (advisory_locks.Busy, LockHeldError) as busy:
            return RunResult(RunState.SKIPPED, f"busy: {busy}", cause=Cause.BUSY)
        except psycopg.Error as error:
            return self._broken(error)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - around a job: its mistake is its own
            _log.exception("run.crashed")
            reason = f"{type(error).__name__}: {first_line(error)}"
            return RunResult(RunState.FAILED, reason, cause=Cause.ERROR)

    def _broken(self, error: psycopg.Error) -> RunResult:
        if is_lost(error):
            raise LostError(first_line(error)) from None
        if self.stop.is_set() and isinstance(error, psycopg.errors.QueryCanceled):
            return _INTERRUPTED
        return RunResult(RunState.FAILED, first_line(error), cause=Cause.ERROR)

    def _alive(self, number: int) -> None:
        self._watchdog.beat(_sign(number), HUNG_SECONDS)
        task = self._at_work.get(number)
        watched = task is not None and task.request is not None and not self.stop.is_set()
        if watched and self._is_stop_requested(number):
            self.cancel_in_background()

    def _is_stop_requested(self, number: int) -> bool:
        """Return whether the run was asked to stop; a state file in trouble asks for nothing."""
        try:
            with self._context.store.reading() as transaction:
                return requests.is_stop_requested(transaction, number)
        except StoreError:
            return False


_INTERRUPTED = RunResult(RunState.INTERRUPTED, "interrupted")


def _split(results: Sequence[StepResult]) -> tuple[list[StepResult], list[StepResult]]:
    """Return the results to keep, and those of steps whose session was lost."""
    kept = [one for one in results if one[1].stop is not Stop.LOST]
    return kept, [one for one in results if one[1].stop is Stop.LOST]


def _with_logins(logins: tuple[Login, ...], results: Sequence[StepResult]) -> list[Step]:
    return [step for step, _ in results if step.logins == logins]


def _sign(number: int) -> str:
    return f"run {number}"
