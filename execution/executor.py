"""The executor: the only code that applies steps."""

import contextlib
import itertools
import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import psycopg

from execution.control import Halted, RunLimits, StepControl, Stop
from execution.errors import GRACE_SECONDS, outcome_of, stop_reason
from execution.step import DatabaseStep, HostStep, Outcome, Status, Step
from execution.window import UNLIMITED, open_window
from postgres.session import Login, Session

BATCH_SECONDS = 1.0
WATCH_SECONDS = 0.5
ABANDON_SECONDS = 0.2
HUNG_SECONDS = 60.0
YIELD_SECONDS = 2.0
MOST_RESTARTS = 3
"""A cancelled statement is restarted at most this many times after yielding to other sessions."""

StepResult = tuple[Step, Outcome]


class Executor:
    """Runs steps within the limits of their run, one at a time in each lane.

    A lane is a session, or None for steps on the host. A step runs in a lane of its login.
    """

    def __init__(self, terms: RunLimits, lanes: Mapping[Login, Sequence[Session | None]]) -> None:
        self._terms = terms
        self._lanes = [lane for some in lanes.values() for lane in some]
        self._free: dict[Login, queue.SimpleQueue[Session | None]] = {}
        for login, some in lanes.items():
            self._free[login] = queue.SimpleQueue()
            for lane in some:
                self._free[login].put(lane)
        self._busy: dict[int, int] = {}
        self._given_up: Outcome | None = None
        self._controls: dict[int, StepControl] = {}
        self._abandoned = threading.Event()
        self._watched_at = 0.0

    def run(self, steps: Sequence[Step], *, ordered: bool = False) -> Iterator[list[StepResult]]:
        """Yield every step with its outcome, including those not begun.

        A failure stops no other step, unless they are `ordered`: then each waits for the one before
        it, and after the first that is not done nothing begins. Results are yielded in batches of
        at most a second, so that many small steps share one transaction. Steps blocked by a lock
        are retried once at the end.
        """
        return self._in_order(steps) if ordered else self._side_by_side(steps)

    def _side_by_side(self, steps: Sequence[Step]) -> Iterator[list[StepResult]]:
        numbered = enumerate(steps, 1)
        late: list[StepResult] = []
        for alone, stage in itertools.groupby(numbered, _stage_key):
            blocked: list[StepResult] = []
            lanes = 1 if alone else len(self._lanes)
            for batch in self._stage(list(stage), len(steps), lanes):
                blocked += [ended for ended in batch if ended[1].blocked]
                if settled := [ended for ended in batch if not ended[1].blocked]:
                    yield settled
            if alone:
                late += blocked
            elif blocked:
                yield from self._again(blocked, len(steps))
        if late:
            yield from self._again(late, len(steps))

    def _in_order(self, steps: Sequence[Step]) -> Iterator[list[StepResult]]:
        for number, step in enumerate(steps, 1):
            for batch in self._stage([(number, step)], len(steps), lanes=1):
                yield batch
                ended = batch[-1][1]
                if ended.status is not Status.DONE and self._given_up is None:
                    reason = f"not begun: {step.name} {step.object} is not done"
                    self._given_up = Outcome(Status.UNFINISHED, reason, stop=ended.stop)

    def _again(self, blocked: Sequence[StepResult], of: int) -> Iterator[list[StepResult]]:
        """Retry blocked steps once; where that cannot begin, the first outcome counts."""
        first = [one for one in blocked if self._may_retry(one[0])]
        if too_late := [one for one in blocked if one not in first]:
            yield too_late
        if not first:
            return
        before = {id(step): outcome for step, outcome in first}
        numbered = [(of + number, step) for number, (step, _) in enumerate(first, 1)]
        for batch in self._stage(numbered, of + len(first), lanes=1):
            yield [(step, _both(before[id(step)], outcome)) for step, outcome in batch]

    def _may_retry(self, step: Step) -> bool:
        if self._terms.stop.is_set() or self._given_up is not None:
            return False
        left = self._terms.window.left()
        return left > GRACE_SECONDS or ignores_window(step, left)

    def _stage(
        self, numbered: Sequence[tuple[int, Step]], of: int, lanes: int
    ) -> Iterator[list[StepResult]]:
        ended: queue.SimpleQueue[Future[list[StepResult]]] = queue.SimpleQueue()
        with ThreadPoolExecutor(lanes, thread_name_prefix="lane") as pool:
            futures = [pool.submit(self._in_lane, number, of, step) for number, step in numbered]
            for future in futures:
                future.add_done_callback(ended.put)
            left = len(futures)
            yielded: set[Future[list[StepResult]]] = set()
            try:
                while left:
                    batch = self._next_batch(ended, left)
                    broken = next((future for future in batch if future.exception()), None)
                    if broken:  # a programming error: end the rest, then fail
                        self._abandon(futures)
                        batch = [
                            one for one in futures if not one.cancelled() and one not in yielded
                        ]
                        left = 0
                    left -= len(batch)
                    yielded.update(batch)
                    yield _results(batch)
                    if broken:
                        broken.result()
            finally:
                if left > 0:
                    self._abandon(futures)

    def _next_batch(
        self, ended: "queue.SimpleQueue[Future[list[StepResult]]]", left: int
    ) -> list[Future[list[StepResult]]]:
        """Collect the results that arrive within a second of the first, and report progress."""
        batch: list[Future[list[StepResult]]] = []
        closes = UNLIMITED
        while len(batch) < left and time.monotonic() < closes:
            self._beat()
            try:
                batch.append(
                    ended.get(timeout=min(WATCH_SECONDS, max(0.0, closes - time.monotonic())))
                )
                closes = min(closes, time.monotonic() + BATCH_SECONDS)
            except queue.Empty:
                self._watched_at = 0.0
            # results that keep coming do not keep a waiting session waiting
            is_due = time.monotonic() - self._watched_at >= WATCH_SECONDS
            if is_due and len(batch) < left:
                self._watch()
                self._watched_at = time.monotonic()
        return batch

    def _beat(self) -> None:
        if not any(control.is_overdue(HUNG_SECONDS) for control in list(self._controls.values())):
            self._terms.beat()

    def _watch(self) -> None:
        with contextlib.suppress(psycopg.Error):
            for pid, done in self._terms.read_progress().items():
                if pid in self._busy:
                    self._terms.progress.advance(self._busy[pid], done)
            if any(control.cancellable for control in list(self._controls.values())):
                self._give_way(self._terms.waiters_behind())

    def _give_way(self, behind: Mapping[int, str]) -> None:
        """Cancel cancellable statements that a session waits behind, or at a critical signal."""
        for lane in self._lanes:
            control = (
                self._controls.get(self._busy.get(lane.facts.pid, 0)) if lane is not None else None
            )
            if lane is None or control is None or not control.cancellable:
                continue
            why = behind.get(lane.facts.pid) or control.cancel_reason()
            if why:
                control.yielded_to = why
                lane.cancel()

    def _abandon(self, futures: Sequence[Future[list[StepResult]]]) -> None:
        """Start nothing more, and cancel the statements in flight."""
        self._abandoned.set()
        for future in futures:
            future.cancel()
        while any(future.running() for future in futures):
            for lane in self._lanes:
                if lane is not None:
                    with contextlib.suppress(psycopg.Error):
                        lane.cancel()
            time.sleep(ABANDON_SECONDS)

    def _in_lane(self, number: int, of: int, step: Step) -> list[StepResult]:
        self._terms.progress.begin(number, of, f"{step.name} {step.object}")
        by_login = [self._as_login(step, login, number) for login in step.logins]
        ended = by_login[0]
        if len(by_login) > 1:
            ended = [(step, step.merge([outcome for some in by_login for _, outcome in some]))]
        status = ended[0][1] if len(ended) == 1 else Outcome(Status.DONE, f"{len(ended)} objects")
        self._terms.progress.end(number, status.status, status.reason)
        return ended

    def _as_login(self, step: Step, login: Login, number: int) -> list[StepResult]:
        lane = self._free[login].get()
        try:
            if lane is not None:
                self._busy[lane.facts.pid] = number
            return list(self._parts(step, lane, number))
        finally:
            self._free[login].put(lane)

    def _parts(self, step: Step, lane: Session | None, number: int) -> Iterator[StepResult]:
        """Run a step and then, one by one, the parts that it did not reach."""
        outcome = self._one(step, lane, number)
        if not (outcome.results or outcome.remaining):
            yield from ((part, outcome) for part in step.parts())
            return
        for part, done in outcome.results:
            yield part, replace(done, seconds=outcome.seconds / len(outcome.results))
        for part in outcome.remaining:
            yield part, self._one(part, lane, number)

    def _one(self, step: Step, lane: Session | None, number: int) -> Outcome:
        if self._given_up:
            return self._given_up
        control = self._controls[number] = StepControl(
            self._bound(step), step.limit_seconds, number, self._abandoned
        )
        began = time.monotonic()
        outcome = self._tried(step, lane, control)
        for _ in range(MOST_RESTARTS):
            if not control.yielded_to or outcome.status is not Status.UNFINISHED:
                break
            control.yielded_to, control.stopped = "", None
            self._terms.stop.wait(YIELD_SECONDS)
            outcome = self._tried(step, lane, control)
        seconds = max(0.0, time.monotonic() - began - sum(control.paused.values()))
        stop = control.stopped if outcome.status is Status.UNFINISHED else None
        outcome = replace(outcome, seconds=seconds, paused=control.paused, stop=stop)
        if stop is Stop.THROTTLED and not control.yielded_to:
            self._given_up = Outcome(Status.UNFINISHED, outcome.reason, stop=stop)
        elif stop is Stop.LOST:
            self._given_up = outcome
        del self._controls[number]
        return outcome

    def _bound(self, step: Step) -> RunLimits:
        """Return the limits of one step: urgent and overrunning steps have no window."""
        terms = self._terms
        if step.unpaused:
            terms = replace(terms, sample=terms.orders)
        elif step.urgent:
            terms = replace(terms, sample=lambda: replace(self._terms.sample(), migration=""))
        if ignores_window(step, terms.window.left()):
            return replace(terms, window=open_window(None))
        return terms

    def _tried(self, step: Step, lane: Session | None, control: StepControl) -> Outcome:
        outcome: Outcome
        try:
            control.wait_while_paused()
            fits = fits_window(step, control.window.left(), control.window.length)
            outcome = _apply(step, lane, control) if fits else _too_long(step, control)
        except Halted:
            outcome = Outcome(Status.UNFINISHED, stop_reason(control), rows=control.rows)
        except (psycopg.Error, OSError) as error:
            outcome = replace(outcome_of(error, step, lane, control), rows=control.rows)
        control.cancellable = False
        return outcome


def _apply(step: Step, lane: Session | None, control: StepControl) -> Outcome:
    if isinstance(step, HostStep):
        return step.apply(control)
    if isinstance(step, DatabaseStep) and lane is not None:
        return step.apply(lane, control)
    raise TypeError(f"{step.name} {step.object}: a step in a database needs a session")


def _both(first: Outcome, second: Outcome) -> Outcome:
    """Merge a retry into the first outcome; keep the first if the retry never began."""
    if second.stop is not None and second.rows == 0:
        return first
    paused = {
        why: first.paused.get(why, 0.0) + second.paused.get(why, 0.0)
        for why in {*first.paused, *second.paused}
    }
    return replace(
        second, rows=first.rows + second.rows, seconds=first.seconds + second.seconds, paused=paused
    )


def ignores_window(step: Step, left: float) -> bool:
    """Return whether the window does not apply to a step when `left` seconds of it remain."""
    return step.urgent or (step.overrun and left > 0)


def fits_window(step: Step, left: float, length: float) -> bool:
    """Return whether a step may begin with `left` seconds of the window left.

    A step without history is tried in the first half of the window whatever its prediction says.
    """
    return left > 0 and (
        step.predicted_seconds <= left or (has_no_history(step) and left >= length / 2)
    )


def has_no_history(step: Step) -> bool:
    """Return whether a step's duration is only a guess."""
    return not step.has_history


def _too_long(step: Step, control: StepControl) -> Outcome:
    """Return the outcome of a step that does not fit the rest of the window, or any window."""
    never = step.has_history and step.predicted_seconds > control.window.length
    control.stopped = Stop.TOO_LONG if never else Stop.WINDOW
    than = "is left"
    if never:
        than = f"any window of {control.window.length:.0f} s"
    return Outcome(
        Status.UNFINISHED, f"would take about {step.predicted_seconds:.0f} s, longer than {than}"
    )


def _stage_key(numbered: tuple[int, Step]) -> int:
    """Return 0 for steps that share a stage; a step that runs alone has a stage of its own."""
    number, step = numbered
    if step.alone:
        return number
    return 0


def _results(futures: Sequence[Future[list[StepResult]]]) -> list[StepResult]:
    """Return the results of the futures that have not failed."""
    return [one for future in futures if not future.exception() for one in future.result()]
