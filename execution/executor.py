"""The only one who acts: it calls `apply`, and understands how a step ended."""

import contextlib
import itertools
import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import psycopg

from execution import governor
from execution.control import Halted, Pace, Stop, Terms
from execution.errors import GRACE_SECONDS, REASONS, understand
from execution.step import Outcome, Owned, Status, Step
from execution.window import UNLIMITED, opens_for
from jobs.steps.rebuild_index import Rebuild
from jobs.steps.statement import Statement
from jobs.steps.vacuum_group import Group
from postgres.session import Session

HANDFUL_SECONDS = 1.0
WATCH_SECONDS = 0.5
ABANDON_SECONDS = 0.2
HUNG_SECONDS = 60.0
GIVE_WAY_SECONDS = 2.0
MOST_WAYS = 3
"""So often a statement begins again after it has given way to others."""

Ended = tuple[Step, Outcome]
_Long = Statement | Group | Rebuild

_THROTTLED = Outcome(Status.UNFINISHED, REASONS[Stop.THROTTLED], stop=Stop.THROTTLED)


class Executor:
    """Runs steps under the terms of their run, one in each lane (a session; None for steps of the host) at a time.

    `owner` is the lane of what needs the rights of a table's owner.
    """

    def __init__(self, terms: Terms, lanes: Sequence[Session | None], owner: Session | None = None) -> None:
        self._terms = terms
        self._owner = owner
        self._lanes = [*lanes, owner] if owner is not None else lanes
        self._free: queue.SimpleQueue[Session | None] = queue.SimpleQueue()
        for lane in lanes:
            self._free.put(lane)
        self._busy: dict[int, int] = {}
        self._given_up: Outcome | None = None
        self._paces: dict[int, Pace] = {}
        self._abandoned = threading.Event()

    def run(self, steps: Sequence[Step]) -> Iterator[list[Ended]]:
        """Yield every step with what came of it, those not begun too; one step's failure stops no other.

        They come in handfuls of at most a second, so that many small ones are written down together. What somebody's
        lock kept from its turn has a second one at the end.
        """
        numbered = enumerate(steps, 1)
        late: list[Ended] = []
        for alone, stage in itertools.groupby(numbered, lambda item: item[0] if item[1].alone else 0):
            blocked: list[Ended] = []
            for handful in self._stage(list(stage), len(steps), lanes=1 if alone else len(self._lanes)):
                blocked += [ended for ended in handful if ended[1].blocked]
                if settled := [ended for ended in handful if not ended[1].blocked]:
                    yield settled
            if alone:
                late += blocked
            elif blocked:
                yield from self._again(blocked, len(steps))
        if late:
            yield from self._again(late, len(steps))

    def _again(self, blocked: Sequence[Ended], of: int) -> Iterator[list[Ended]]:
        """Give what a lock kept from its turn a second one; the first counts where that cannot begin."""
        over = self._terms.stop.is_set() or self._given_up is not None
        left = self._terms.window.left()
        first = [one for one in blocked if not over and (left > GRACE_SECONDS or exempt(one[0], left))]
        if too_late := [one for one in blocked if one not in first]:
            yield too_late
        before = {id(step): outcome for step, outcome in first}
        numbered = [(of + number, step) for number, (step, _) in enumerate(first, 1)]
        for handful in self._stage(numbered, of + len(first), lanes=1) if first else ():
            yield [(step, _both(before[id(step)], outcome)) for step, outcome in handful]

    def _stage(self, numbered: Sequence[tuple[int, Step]], of: int, lanes: int) -> Iterator[list[Ended]]:
        ended: queue.SimpleQueue[Future[list[Ended]]] = queue.SimpleQueue()
        with ThreadPoolExecutor(lanes, thread_name_prefix="lane") as pool:
            futures = [pool.submit(self._in_lane, number, of, step) for number, step in numbered]
            for future in futures:
                future.add_done_callback(ended.put)
            left = len(futures)
            told: set[Future[list[Ended]]] = set()
            try:
                while left:
                    handful = self._handful(ended, left)
                    broken = [future for future in handful if future.exception()]
                    if broken:  # a mistake of ours: end the rest, tell what was done, then fail
                        self._abandon(futures)
                        handful = [future for future in futures if not future.cancelled() and future not in told]
                        left = 0
                    left -= len(handful)
                    told.update(handful)
                    yield [one for future in handful if not future.exception() for one in future.result()]
                    for future in broken:
                        future.result()
            finally:
                if left > 0:
                    self._abandon(futures)

    def _handful(self, ended: "queue.SimpleQueue[Future[list[Ended]]]", left: int) -> list[Future[list[Ended]]]:
        """Gather what ends within a second of the first; look how far the others are meanwhile."""
        handful: list[Future[list[Ended]]] = []
        closes = UNLIMITED
        while len(handful) < left and time.monotonic() < closes:
            self._beat()
            try:
                handful.append(ended.get(timeout=min(WATCH_SECONDS, max(0.0, closes - time.monotonic()))))
                closes = min(closes, time.monotonic() + HANDFUL_SECONDS)
            except queue.Empty:
                self._watch()
        return handful

    def _beat(self) -> None:
        if not any(pace.overdue(HUNG_SECONDS) for pace in list(self._paces.values())):
            self._terms.beat()

    def _watch(self) -> None:
        with contextlib.suppress(psycopg.Error):
            for pid, done in self._terms.watch().items():
                if pid in self._busy:
                    self._terms.progress.advance(self._busy[pid], done)
            if any(pace.yields for pace in list(self._paces.values())):
                self._spare(governor.critical(self._terms.sample(), self._terms.limits), self._terms.behind())

    def _spare(self, critical: str | None, behind: Mapping[int, str]) -> None:
        """Cancel what may be cancelled: at a critical signal, or because somebody waits behind it."""
        for lane in self._lanes:
            pace = self._paces.get(self._busy.get(lane.facts.pid, 0)) if lane is not None else None
            if lane is None or pace is None or not pace.yields:
                continue
            why = behind.get(lane.facts.pid) or critical
            if why:
                pace.gave_way = why
                lane.cancel()

    def _abandon(self, futures: Sequence[Future[list[Ended]]]) -> None:
        """Begin nothing more, and end what is in flight."""
        self._abandoned.set()
        for future in futures:
            future.cancel()
        while any(future.running() for future in futures):
            for lane in self._lanes:
                if lane is not None:
                    with contextlib.suppress(psycopg.Error):
                        lane.cancel()
            time.sleep(ABANDON_SECONDS)

    def _in_lane(self, number: int, of: int, step: Step) -> list[Ended]:
        owned = isinstance(step, Owned)
        lane = self._owner if owned else self._free.get()
        try:
            if lane is not None:
                self._busy[lane.facts.pid] = number
            self._terms.progress.begin(number, of, f"{step.name} {step.object}")
            ended = list(self._parts(step, lane, number))
            status = ended[0][1] if len(ended) == 1 else Outcome(Status.DONE, f"{len(ended)} objects")
            self._terms.progress.end(number, status.status, status.reason)
            return ended
        finally:
            if not owned:
                self._free.put(lane)

    def _parts(self, step: Step, lane: Session | None, number: int) -> Iterator[Ended]:
        """Do it, and what it left one by one; a step of several ends as each of them."""
        outcome = self._one(step, lane, number)
        if not (outcome.parts or outcome.rest):
            yield from ((part, outcome) for part in (step.members if isinstance(step, Group) else (step,)))
            return
        for part, done in outcome.parts:
            yield part, replace(done, seconds=outcome.seconds / len(outcome.parts))
        for part in outcome.rest:
            yield part, self._one(part, lane, number)

    def _one(self, step: Step, lane: Session | None, number: int) -> Outcome:
        if self._given_up:
            return self._given_up
        pace = self._paces[number] = Pace(self._bound(step), step.limit_seconds, number, self._abandoned)
        began = time.monotonic()
        outcome = self._tried(step, lane, pace)
        for _ in range(MOST_WAYS):
            if not pace.gave_way or outcome.status is not Status.UNFINISHED:
                break
            pace.gave_way, pace.stopped = "", None
            self._terms.stop.wait(GIVE_WAY_SECONDS)
            outcome = self._tried(step, lane, pace)
        seconds = max(0.0, time.monotonic() - began - sum(pace.paused.values()))
        stop = pace.stopped if outcome.status is Status.UNFINISHED else None
        outcome = replace(outcome, seconds=seconds, paused=pace.paused, stop=stop)
        if stop is Stop.THROTTLED and not pace.gave_way:
            self._given_up = _THROTTLED
        elif stop is Stop.LOST:
            self._given_up = outcome
        del self._paces[number]
        return outcome

    def _bound(self, step: Step) -> Terms:
        """Return the terms of a step: what is urgent has no window, what may overrun has to begin in it only."""
        if exempt(step, self._terms.window.left()):
            return replace(self._terms, window=opens_for(None))
        return self._terms

    def _tried(self, step: Step, lane: Session | None, pace: Pace) -> Outcome:
        outcome: Outcome
        try:
            pace.proceed()
            fits = begins(step, pace.window.left(), pace.window.length)
            outcome = step.apply(lane, pace) if fits else _too_long(step, pace)
        except Halted:
            outcome = Outcome(Status.UNFINISHED, REASONS[pace.stopped or Stop.WINDOW], rows=pace.rows)
        except (psycopg.Error, OSError) as error:
            outcome = replace(understand(error, step, lane, pace), rows=pace.rows)
        pace.yields = False
        return outcome


def _both(first: Outcome, second: Outcome) -> Outcome:
    """Add a second turn to the first one, or keep that, if the second was not begun."""
    if second.stop is not None and second.rows == 0:
        return first
    paused = {why: first.paused.get(why, 0.0) + second.paused.get(why, 0.0) for why in {*first.paused, *second.paused}}
    return replace(second, rows=first.rows + second.rows, seconds=first.seconds + second.seconds, paused=paused)


def exempt(step: Step, left: float) -> bool:
    """Say whether the window does not bind a step when so much of it is left."""
    return isinstance(step, _Long) and (step.urgent or (step.overrun and left > 0))


def begins(step: Step, left: float, length: float) -> bool:
    """Say whether a step can be begun when so much of a window is left. One never done is tried in its first half."""
    return left > 0 and (step.predicted_seconds <= left or (guessed(step) and left >= length / 2))


def guessed(step: Step) -> bool:
    """Say whether nobody knows from before how long a step takes."""
    return isinstance(step, _Long) and not step.sure


def _too_long(step: Step, pace: Pace) -> Outcome:
    """Return how a step that is not begun ends: for today, or (by its own history) for good."""
    sure = not isinstance(step, _Long) or step.sure
    never = sure and step.predicted_seconds > pace.window.length
    pace.stopped = Stop.TOO_LONG if never else Stop.WINDOW
    than = f"any window of {pace.window.length:.0f} s" if never else "is left"
    return Outcome(Status.UNFINISHED, f"would take about {step.predicted_seconds:.0f} s, longer than {than}")
