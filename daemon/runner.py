"""One run, told as a straight line: open, fence, observe, plan, act, judge, decide, remember."""

import contextlib
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import psycopg
import structlog

from checks.check import Place
from daemon import history
from daemon.history import NOW, Trigger
from daemon.jobs.job import Errand, Job, Looking, Scope, Verdict
from daemon.jobs.registry import JOBS
from daemon.parts import Parts
from daemon.record import Recorder
from daemon.verdict import RunState, final
from postgres import governor, guard, locks
from postgres.connection import Session, TargetError, UnreachableError, session
from postgres.executor import Executor, first_line
from postgres.pace import Progress, Terms
from postgres.progress import blocks
from postgres.step import Outcome, Step
from postgres.window import Window, opens_for
from store.lock import Locked, exclusive

CANCEL_SECONDS = 8.0
FENCE_SECONDS = 15.0
"""A dead predecessor's session and its workers are gone by then: the keepalives of the recipe take 11 s."""

NO_END = opens_for(None)
"""For the service's own report: it is most wanted when the window was too short."""

_log = structlog.get_logger("runner")


@dataclass(frozen=True, slots=True)
class Ran:
    """How a run ended, for whoever asked for it."""

    number: int
    job: str
    database: str
    state: RunState
    reason: str


class Runner:
    """Runs jobs. One at a time in one thread; `cancel` may come from any other."""

    def __init__(self, parts: Parts, progress: Progress, patience_seconds: float = FENCE_SECONDS) -> None:
        self._parts = parts
        self._progress = progress
        self._patience = patience_seconds
        self.stop = threading.Event()
        self._sessions: list[Session] = []
        self._guard = threading.Lock()

    def cancel(self) -> None:
        """End the run: what is in flight is cancelled on the server, what is done stays done."""
        self.stop.set()
        deadline = time.monotonic() + CANCEL_SECONDS
        while sessions := self._opened():
            if time.monotonic() > deadline:
                _log.warning("cancel.failed", databases=[opened.target.name for opened in sessions])
                return
            for opened in sessions:  # again and again: one that falls between two statements hits neither
                with contextlib.suppress(psycopg.Error):
                    opened.cancel()
            time.sleep(0.2)

    def _opened(self) -> list[Session]:
        with self._guard:
            return list(self._sessions)

    def cancel_soon(self) -> None:
        """Cancel from a thread of its own: a signal handler must not wait for a server."""
        self.stop.set()
        threading.Thread(target=self.cancel, name="cancel", daemon=True).start()

    def errands(self, jobs: Sequence[str], trigger: Trigger = NOW, only: str | None = None) -> Iterator[Errand]:
        """Yield jobs in order, each wherever the configuration gives it work; `only` narrows the databases."""
        for job in (JOBS[name] for name in jobs):
            for scope in job.scopes:
                if not job.wanted(self._parts.config, scope):
                    continue
                if scope is not Scope.DATABASE:
                    yield Errand(job, scope, "", trigger)
                else:
                    databases = (name for name in self._parts.config.databases if only in {None, name})
                    yield from (Errand(job, scope, name, trigger) for name in databases)

    def run_owed(self, jobs: Sequence[str], trigger: Trigger, window: Window) -> Iterator[Ran]:
        """Run what a due time still owes, in order, until told to stop."""
        for errand in self.owed(jobs, trigger):
            if self.stop.is_set():
                return
            yield self.run(errand, window)

    def run(self, errand: Errand, window: Window) -> Ran:
        """Run one job in one place and record how it ended, whatever happens."""
        recorder = Recorder(self._parts, errand)
        log = _log.bind(task=errand.job.name, database=errand.database, run=recorder.number)
        log.info("run.started", schedule=errand.trigger.schedule, nominal=errand.trigger.minute())
        try:
            outcomes = list(self._work(errand, window if errand.scope is not Scope.SERVICE else NO_END, recorder))
            state, reason, left = final(outcomes)
        except locks.GivenUp:
            state, reason, left = RunState.INTERRUPTED, "interrupted", 0
        except (locks.Busy, Locked) as busy:
            state, reason, left = RunState.SKIPPED, f"busy: {busy}", 0
        except UnreachableError as error:
            recorder.unreachable(str(error))
            state, reason, left = RunState.FAILED, str(error), 0
        except (TargetError, psycopg.Error) as error:
            state, reason, left = self._ended_by(error)
        except Exception as error:
            log.exception("run.broke")
            state, reason, left = RunState.FAILED, f"{type(error).__name__}: {first_line(error)}", 0
        recorder.finish(state, reason, left)
        log.info("run.finished", state=state.value, reason=reason, steps_left=left)
        return Ran(recorder.number, errand.job.name, errand.database, state, reason)

    def owed(self, jobs: Sequence[str], trigger: Trigger) -> Iterator[Errand]:
        """Yield what a due time still owes: what has not ended, or was interrupted."""
        for errand in self.errands(jobs, trigger):
            with self._parts.store.reading() as transaction:
                accounted = history.accounted(transaction, errand.task)
            if not accounted:
                yield errand

    def plan(self, errand: Errand) -> Sequence[Step]:
        """Return what would be run now; every session is read-only and takes no lock of ours."""
        job = errand.job
        if errand.scope is not Scope.DATABASE:
            return job.plan(job.observe(self._looking(errand, None)))
        with self._open(errand.database, job, read_only=True) as opened:
            self.recognise(opened, remember=False)
            return job.plan(job.observe(self._looking(errand, opened)))

    def look(self, errand: Errand, names: Collection[str]) -> Iterator[tuple[Step, Outcome, Verdict]]:
        """Ask the named checks of a job that only looks; nothing is written, told or locked."""
        with ExitStack() as stack:
            opened, cluster = None, ""
            if errand.scope is Scope.DATABASE:
                opened = stack.enter_context(self._open(errand.database, errand.job, read_only=True))
                self.recognise(opened, remember=False)
                cluster = opened.facts.system_identifier
            planned = errand.job.plan(errand.job.observe(self._looking(errand, opened)))
            steps = [step for step in planned if step.object in names]
            place = Place(self._parts.config.daemon.name, cluster, errand.database)
            for handful in Executor(self._terms(opens_for(None), None), [opened]).run(steps):
                for step, outcome in handful:
                    yield step, outcome, errand.job.judge(step, outcome, place)

    def recognise(self, opened: Session, *, remember: bool = True) -> None:
        """Refuse a server that is not the one that this name meant before (TargetError); meet it the first time."""
        facts = opened.facts
        identity = (facts.system_identifier, facts.database_oid)
        with self._parts.store.reading() as transaction:
            known = history.acquainted(transaction, opened.target.name)
        if known is None and not remember:
            return
        if known is None:
            with self._parts.store.transaction() as transaction:
                history.meet(transaction, opened.target.name, identity, self._parts.clock())
        elif known != identity:
            raise TargetError(
                f"{opened.target.name}: another cluster or database than before answers (system identifier "
                f"{identity[0]}, was {known[0]}). If that is meant: sereno trust {opened.target.name}"
            )

    def _work(self, errand: Errand, window: Window, recorder: Recorder) -> Iterator[tuple[Step, Outcome]]:
        job, database = errand.job, errand.database
        with ExitStack() as stack:
            steward: Session | None = None
            worker: Session | None = None
            if errand.scope is not Scope.DATABASE:
                stack.enter_context(exclusive(self._parts.store.job_lock(job.name)))
            else:
                steward = stack.enter_context(self._open(database, job, login="maintain"))
                self.recognise(steward)
                recorder.reached()
                stack.enter_context(locks.coordinator(steward, self._patience, self.stop.is_set))
                worker = stack.enter_context(self._worker(errand, steward))
            steps = job.plan(job.observe(self._looking(errand, worker)))
            lanes = [worker]
            while steward is not None and len(lanes) < min(job.lanes(self._parts.config), len(steps)):
                try:
                    lanes.append(stack.enter_context(self._worker(errand, steward)))
                except UnreachableError as error:  # the server has no room: fewer lanes do the work as well
                    _log.warning("run.fewer_lanes", task=job.name, lanes=len(lanes), reason=str(error))
                    break
            place = Place(self._parts.config.daemon.name, steward.facts.system_identifier if steward else "", database)
            for handful in Executor(self._terms(window, steward), lanes).run(steps):
                recorder.steps(handful, place)
                yield from handful

    @contextmanager
    def _worker(self, errand: Errand, steward: Session) -> Iterator[Session]:
        """Open a session that works under the steward's lock."""
        with self._open(errand.database, errand.job) as worker:
            self.recognise(worker)
            locks.enlist(worker)
            locks.still_held(steward)  # else somebody else has taken over before we enlisted
            self._may(errand.job, worker)
            yield worker

    def _may(self, job: Job, worker: Session) -> None:
        if job.deletes:
            refused = guard.refusal(worker, self._parts.store.instance())
            if refused:
                raise TargetError(f"{job.name} refused: {refused}")

    def _terms(self, window: Window, steward: Session | None) -> Terms:
        limits = self._parts.config.governor
        return Terms(
            window=window,
            stop=self.stop,
            sample=lambda: self._sample(steward),
            limits=governor.Limits(limits.replica_lag.total_seconds(), limits.replica_lag_size),
            progress=self._progress,
            batch_seconds=limits.batch.total_seconds(),
            batch_rows=limits.batch_rows,
            patience_seconds=limits.patience.total_seconds(),
            watch=lambda: blocks(steward) if steward is not None else {},
        )

    def _sample(self, steward: Session | None) -> governor.Sample:
        with self._parts.store.reading() as transaction:
            paused = history.paused(transaction, self._parts.clock())
        return governor.Sample(
            flag_file=governor.present(self._parts.config.governor.flag_file),
            paused=paused is not None,
            replicas=governor.replicas(steward) if steward is not None else (),
        )

    def _looking(self, errand: Errand, opened: Session | None) -> Looking:
        job = errand.job
        with self._parts.store.reading() as transaction:
            memory = history.memory(transaction, job.name, errand.database)
        return Looking(
            config=self._parts.config,
            checks=self._parts.checks,
            scope=errand.scope,
            database=errand.database,
            session=opened,
            leads_cluster=opened is None or self._leads(opened),
            memory=memory,
            open=lambda name: self._open(name, job, login="maintain", read_only=True),
            reading=self._parts.store.reading,
            now=self._parts.clock(),
        )

    def _leads(self, opened: Session) -> bool:
        """Say whether no database before this one in the configuration is of the same cluster."""
        with self._parts.store.reading() as transaction:
            for name in self._parts.config.databases:
                known = history.acquainted(transaction, name)
                if name == opened.target.name:
                    return True
                if known is not None and known[0] == opened.facts.system_identifier:
                    return False
        return True

    @contextmanager
    def _open(self, database: str, job: Job, *, login: str | None = None, read_only: bool = False) -> Iterator[Session]:
        target = self._parts.target(database)
        who = job.login if login is None else "maintain"
        with session(target, who, job.name, read_only=read_only or job.read_only) as opened:
            with self._guard:
                self._sessions.append(opened)
            try:
                if self.stop.is_set():  # a cancel that came while we were connecting has seen no session
                    raise locks.GivenUp
                yield opened
            finally:
                with self._guard:
                    self._sessions.remove(opened)

    def _ended_by(self, error: Exception) -> tuple[RunState, str, int]:
        if self.stop.is_set() and isinstance(error, psycopg.errors.QueryCanceled):
            return RunState.INTERRUPTED, "interrupted", 0
        return RunState.FAILED, first_line(error), 0
