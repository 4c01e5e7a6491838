"""The dispatcher: starts the tasks that due times owe, some places at once.

A place is a database or the host; tasks in one place run one after the other. Tasks of the service
(the report) run after all places of a schedule have finished.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import wait
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

import structlog

from alerts.heartbeat import Heartbeat
from daemon.config.model import Schedule
from daemon.context import Context
from daemon.history import history
from daemon.runs.result import RunState
from daemon.runs.runner import Runner
from daemon.scheduling.admission import Limits, Work
from daemon.scheduling.hand_out import HandOut
from daemon.scheduling.places import MOST_URGENT, Do, Elsewhere, Places
from daemon.scheduling.tasks import known_since, owed_tasks, record_unrun, tasks_of
from daemon.scheduling.timetable import Timing, timings
from daemon.scheduling.waves import WaveResult, failure_of, in_waves
from daemon.scheduling.works import read_limits, work_of
from domain.calendar import Due
from domain.cause import Cause
from domain.coverage import Coverage
from domain.finding import Finding, Identity, Severity
from domain.kinds import TASK_MISSED, WAVE_STOPPED
from domain.task import Scope, Task, Trigger
from domain.units import some_of
from execution.window import Window, open_window
from store.store import StoreError

LATE_AFTER = timedelta(minutes=2)
"""A schedule that begins later than this is caught up, not on time."""
_WRONG = {RunState.FAILED.value, RunState.SKIPPED.value}

_log = structlog.get_logger("dispatcher")


@dataclass(frozen=True, slots=True)
class _Wave:
    """Databases, and the work that is owed in them."""

    databases: Sequence[str]
    works: list[tuple[Work, list[Task]]]


class Dispatcher:
    """Starts due runs and records missed ones."""

    def __init__(
        self,
        context: Context,
        runner: Runner,
        heartbeat: Heartbeat,
        state_problem: Callable[[], str] = lambda: "",
        renew: Callable[[], None] = lambda: None,
    ) -> None:
        """Dispatch unless `state_problem` returns a reason why the state cannot be used.

        `renew` is called before a due time is decided: it looks which databases there are.
        """
        self._heartbeat, self._state_problem = heartbeat, state_problem
        self._renew = renew
        self._hand_out: HandOut | None = None
        self._places = Places(Limits(context.config.daemon.at_once))
        self._busy: dict[str, _Ending] = {}
        self._settled: dict[str, datetime] = {}
        self._pinged: dict[str, datetime] = {}
        self._guard = threading.RLock()
        self._attended = self._looked = context.clock()
        self.use(context, runner)

    def use(self, context: Context, runner: Runner) -> None:
        """Use a new context from now on; schedules in progress keep the old one."""
        with self._guard:
            self._context, self._runner = context, runner
            runner.aside = self._places.aside
            self.timings: Mapping[str, Timing] = timings(context.config)
            self._settled.clear()
            now = context.clock()
            try:
                self.renew_limits()
                with context.store.transaction() as transaction:
                    for name, schedule in context.config.timetable.items():
                        tasks = tasks_of(context, schedule.jobs, Trigger(name))
                        since = {task: known_since(context, task, now) for task in tasks}
                        history.remember_planned(transaction, str(schedule.cron), since)
            except StoreError as error:
                _log.critical("schedule.store_failed", error=str(error))

    @property
    def busy(self) -> Mapping[str, Runner]:
        """Return the schedules in progress, each with its runner."""
        return {name: ending.runner for name, ending in list(self._busy.items())}

    def look_at_all_schedules(self) -> None:
        """Start whatever is owed, independently of the timer."""
        for name in list(self.timings):
            self.look(name)

    def look(self, name: str) -> None:
        """Start what the last due time of a schedule still owes, unless it is in progress."""
        if self._is_open(name) and not self._state_problem():
            self._renew()
        with self._guard:
            now = self._context.clock()
            # the machine was suspended, or the clock was set
            if now - self._looked > LATE_AFTER or now < self._looked:
                self._attended = now - LATE_AFTER
            self._looked = now
            due = self._is_open(name)
            if due is None or self._state_problem():
                return
            try:
                self._decide(name, due, now)
            except StoreError as error:
                # nothing was recorded, so it is tried again at the next poll
                _log.critical("schedule.store_failed", schedule=name, error=str(error))

    def _is_open(self, name: str) -> Due | None:
        """Return the last due time of a schedule that is neither in progress nor settled."""
        now = self._context.clock()
        due = self.timings[name].latest(now) if name in self.timings else None
        if due is None or name in self._busy or self._runner.stop.is_set():
            return None
        return due if self._settled.get(name) != due.nominal else None

    def run_in_turn(self, task: Task, name: str, do: Callable[[], None]) -> None:
        """Run what somebody has asked for before what waits, as soon as the limits allow.

        It does not wait for the work of its database: the run itself tells that it is busy. Nothing
        is run once the service stops.
        """
        work = replace(self._work_of([task]), place=f"request {name}", priority=MOST_URGENT)
        try:
            self._places.submit(work, do).result()
        except RuntimeError:
            _log.warning("request.not_begun", request=name, task=task.job)

    def hand_out_by(self, hand_out: HandOut) -> None:
        """Let workers do the tasks of databases; count those that a former leader has handed out.

        Raises StoreError.
        """
        self._hand_out = hand_out
        for tasks, window, end in hand_out.adopt():
            again = partial(hand_out.offer, tasks, window)
            self._places.adopt(self._work_of(tasks), again, end)
        self.renew_limits()

    def put_off(self, end: Elsewhere, *, until_later: bool, down: bool) -> None:
        """Let a work leave its place to others until later, or have it again."""
        self._places.put_off(end, until_later=until_later, down=down)

    def renew_limits(self) -> None:
        """Use the limits of the servers and workers as they are known now. Raises StoreError."""
        limits = read_limits(self._context)
        if self._hand_out is not None:
            limits = replace(limits, at_once=self._hand_out.at_once)
        self._places.limit(limits)

    def stop(self) -> None:
        """Start nothing more."""
        self._places.stop()
        if self._hand_out is not None:
            self._hand_out.close()

    def _work_of(self, tasks: Sequence[Task]) -> Work:
        """Return the work of tasks; one of a database that is not configured now only counts."""
        first = tasks[0]
        if first.database and first.database not in self._context.config.databases:
            return Work(first.place)
        work = work_of(self._context, tasks)
        # in a fleet the number at once is that of the workers
        here = first.request is not None or first.scope is not Scope.DATABASE
        return replace(work, counts=not (here and self._hand_out is not None))

    def _do(self, ending: "_Ending", tasks: Sequence[Task]) -> Do:
        """Return the work on tasks of one place: here, or by a worker of the fleet."""
        if self._hand_out is None or tasks[0].scope is not Scope.DATABASE:
            return partial(self._work, ending, tasks)
        return partial(self._hand_out.offer, tasks, ending.window)

    def _decide(self, name: str, due: Due, now: datetime) -> None:
        schedule = self._context.config.timetable[name]
        left = due.instant + schedule.window - now
        if not self._owed(name, due):
            self._settled[name] = due.nominal
        elif schedule.catch_up == "always" or (left > timedelta() and self._may_begin(name, due)):
            self._begin(name, due, left if left > timedelta() else schedule.window)
        else:
            why = "catch_up does not allow it"
            if left <= timedelta():
                why = "its window has ended"
            self._missed(name, due, why)
            self._settled[name] = due.nominal

    def _may_begin(self, name: str, due: Due) -> bool:
        """Return whether `catch_up = "never"` permits it.

        Interrupted work does, missed work does not.
        """
        if (
            self._context.config.timetable[name].catch_up != "never"
            or due.instant >= self._attended
        ):
            return True
        with self._context.store.reading() as transaction:
            return history.has_begun(transaction, Trigger(name, due.nominal))

    def _owed(self, name: str, due: Due) -> bool:
        """Return whether a due time owes a task that was planned by then."""
        schedule = self._context.config.timetable[name]
        trigger, now = Trigger(name, due.nominal), self._context.clock()
        tasks = tasks_of(self._context, schedule.jobs, trigger)
        since = {task: known_since(self._context, task, now) for task in tasks}
        with self._context.store.transaction() as transaction:
            planned = history.remember_planned(transaction, str(schedule.cron), since)
            settled = history.load_settled(transaction, trigger)
        return any(
            due.instant >= instant and (task.job, task.database) not in settled
            for task, instant in planned.items()
        )

    def _begin(self, name: str, due: Due, left: timedelta) -> None:
        schedule = self._context.config.timetable[name]
        trigger = Trigger(name, due.nominal)
        window = open_window(left.total_seconds(), schedule.window.total_seconds())
        places: dict[str, list[Task]] = {}
        for task in owed_tasks(self._context, schedule.jobs, trigger):
            places.setdefault(task.place, []).append(task)
        last = places.pop(Scope.SERVICE.value, [])
        waves = self._waves(schedule, trigger, places)
        _log.info("schedule.due", schedule=name, nominal=trigger.minute(), places=list(places))
        if self._pinged.get(name) != due.nominal:
            self._pinged[name] = due.nominal
            self._heartbeat.ping(schedule.heartbeat, "/start")
        ending = self._busy[name] = _Ending(self._context, self._runner, name, due, window)
        try:
            threading.Thread(
                target=self._run, args=(waves, last, ending), name=f"run of {name}", daemon=True
            ).start()
        except RuntimeError as error:  # no thread could be started
            del self._busy[name]
            _log.critical("schedule.store_failed", schedule=name, error=str(error))

    def _waves(
        self, schedule: Schedule, trigger: Trigger, places: Mapping[str, list[Task]]
    ) -> list[_Wave]:
        """Return the owed work in waves of all planned databases; the host is in the first one.

        From now on the limits are those of the servers as they are known.
        """
        context = self._context
        self.renew_limits()
        planned = (task.database for task in tasks_of(context, schedule.jobs, trigger))
        names = list(dict.fromkeys(filter(None, planned)))
        waves = [_Wave(one, []) for one in in_waves(names, context.config.fleet.waves)]
        waves = waves or [_Wave([], [])]
        wave_of = {name: wave for wave in waves for name in wave.databases}
        for tasks in places.values():
            wave = wave_of.get(tasks[0].database, waves[0])
            wave.works.append((self._work_of(tasks), tasks))
        for wave in waves:  # the first ones begin as they are submitted
            wave.works.sort(key=lambda one: -one[0].priority)
        return waves

    def _work(self, ending: "_Ending", place_tasks: Sequence[Task]) -> None:
        """Run tasks of one place in order; a failing state file ends the list, which is retried."""
        for task in place_tasks:
            if ending.runner.stop.is_set():
                return
            try:
                ending.runner.run(task, ending.window)
            except StoreError as error:
                _log.critical(
                    "run.unrecorded", task=task.job, database=task.database, error=str(error)
                )
                return

    def _run(self, waves: Sequence[_Wave], last: Sequence[Task], ending: "_Ending") -> None:
        """Run the waves, then the service's tasks; close the schedule, find the next due time."""
        closed = False
        try:
            stopped = self._run_waves(waves, ending)
            if last and not ending.runner.stop.is_set():
                work = partial(self._work, ending, last)
                wait([self._places.submit(self._work_of(last), work)])
            closed = self._close(ending, stopped=stopped)
        except (StoreError, RuntimeError) as error:
            # RuntimeError: the service stops
            _log.critical("schedule.store_failed", schedule=ending.name, error=str(error))
        finally:
            with self._guard:
                del self._busy[ending.name]
        if closed:  # otherwise it is tried again at the next poll
            self.look(ending.name)

    def _run_waves(self, waves: Sequence[_Wave], ending: "_Ending") -> bool:
        """Run one wave after the other; return whether a wave's result has stopped the next."""
        for number, wave in enumerate(waves, 1):
            begun = [
                self._places.submit(work, self._do(ending, tasks)) for work, tasks in wave.works
            ]
            for one in wait(begun).done:
                if one.exception() is not None:
                    _log.critical("run.crashed", schedule=ending.name, error=repr(one.exception()))
            if ending.runner.stop.is_set():
                return False
            why = self._failure(ending, wave.databases) if number < len(waves) else ""
            if why:
                self._stop_waves(ending, f"wave {number} of {len(waves)}: {why}")
                return True
        return False

    def _failure(self, ending: "_Ending", databases: Sequence[str]) -> str:
        """Return why nothing is begun after a wave; empty if the next one may."""
        stop = ending.context.config.fleet.stop_wave_at
        with ending.context.store.reading() as transaction:
            failed, critical = history.count_failures(transaction, ending.trigger, databases)
        return failure_of(WaveResult(len(databases), failed, critical), stop.failed, stop.critical)

    def _stop_waves(self, ending: "_Ending", why: str) -> None:
        """Record the tasks of the waves that are not begun, with an alert."""
        context, name = ending.context, ending.name
        _log.error("schedule.wave_stopped", schedule=name, reason=why)
        identity = Identity(WAVE_STOPPED.name, context.config.daemon.name, task=name)
        owed = owed_tasks(context, context.config.timetable[name].jobs, ending.trigger)
        unrun = [task for task in owed if task.scope is Scope.DATABASE]
        names = some_of(list(dict.fromkeys(task.database for task in unrun)))
        summary = f"schedule {name} did not go on after {why}; not begun: {names or 'none'}"
        finding = Finding(identity, Severity.HIGH, summary, remedy=f"sereno now {name}")
        record_unrun(context, unrun, f"not begun: {why}", Cause.WAVE_STOPPED, finding)

    def _close(self, ending: "_Ending", *, stopped: bool) -> bool:
        """Return whether every task is settled; then resolve its alert and ping the heartbeat."""
        context, name, trigger = ending.context, ending.name, ending.trigger
        if ending.runner.stop.is_set() or owed_tasks(
            context, context.config.timetable[name].jobs, trigger
        ):
            return False
        with context.store.transaction() as transaction:
            over = [TASK_MISSED] if stopped else [TASK_MISSED, WAVE_STOPPED]
            covered = [Coverage(kind.name, task=name) for kind in over]
            context.processor(transaction).process([], covered)
            ends = history.final_states(transaction, trigger)
        wrong = [f"{place}: {state}" for place, state in ends if state in _WRONG]
        self._heartbeat.end(context.config.timetable[name].heartbeat, wrong)
        with self._guard:
            self._settled[name] = ending.due.nominal
        return True

    def _missed(self, name: str, due: Due, why: str) -> None:
        """Record a missed due time with an alert."""
        _log.error("schedule.missed", schedule=name, nominal=str(due.nominal), reason=why)
        trigger = Trigger(name, due.nominal)
        identity = Identity(TASK_MISSED.name, self._context.config.daemon.name, task=name)
        summary = f"schedule {name} of {due.nominal:%Y-%m-%d %H:%M} did not run: {why}"
        finding = Finding(identity, Severity.HIGH, summary, remedy=f"sereno now {name}")
        unrun = owed_tasks(self._context, self._context.config.timetable[name].jobs, trigger)
        record_unrun(self._context, unrun, f"missed: {why}", Cause.MISSED, finding)


@dataclass(frozen=True, slots=True)
class _Ending:
    """The state of a schedule in progress."""

    context: Context
    runner: Runner
    name: str
    due: Due
    window: Window

    @property
    def trigger(self) -> Trigger:
        return Trigger(self.name, self.due.nominal)
