"""From a due time to its runs: looks what is owed, and has it worked off, one thread for each place.

A place is a database, or the host: what is due in one waits for what is in progress there, and for nothing else.
A list ends with what is of the service itself (the report), when all its places are done.
"""

import contextlib
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from alerts import alert_store
from alerts.heartbeat import Heartbeat
from alerts.lifecycle import UNREACHABLE
from daemon.alerting import tell, tell_within
from daemon.context import Context
from daemon.history import history
from daemon.runs.result import RunState
from daemon.runs.runner import Runner
from daemon.scheduling.tasks import owed_tasks, tasks_of
from daemon.scheduling.timetable import Timing, timings
from domain.calendar import Due
from domain.coverage import Coverage
from domain.finding import Finding, Identity, Severity
from domain.task import Scope, Task, Trigger
from execution.window import Window, opens_for
from postgres.session import TargetError, session
from store.store import StoreError

PUNCTUAL = timedelta(minutes=2)
"""What begins later than this is caught up, not on time."""
MISSED = "task_missed"
_WRONG = {RunState.FAILED.value, RunState.SKIPPED.value}

_log = structlog.get_logger("dispatch")


class Dispatcher:
    """Knows what is due, what is in progress, and what is done with."""

    def __init__(self, context: Context, runner: Runner, heartbeat: Heartbeat) -> None:
        self._heartbeat = heartbeat
        self._queues: dict[str, ThreadPoolExecutor] = {}
        self._busy: dict[str, _Ending] = {}
        self._settled: dict[str, datetime] = {}
        self._pinged: dict[str, datetime] = {}
        self._guard = threading.RLock()
        self._attended = self._looked = context.clock()
        self.use(context, runner)

    def use(self, context: Context, runner: Runner) -> None:
        """Work by a (new) configuration from now on; what is in progress ends by the one that it began with."""
        with self._guard:
            self._context, self._runner = context, runner
            self.timings: Mapping[str, Timing] = timings(context.config)
            self._settled.clear()
            now = context.clock()
            try:
                with context.store.transaction() as transaction:
                    for name, schedule in context.config.timetable.items():
                        for task in tasks_of(context, schedule.jobs, Trigger(name)):
                            history.known_since(transaction, task, str(schedule.cron), now)
            except StoreError as error:
                _log.critical("schedule.broke", error=str(error))

    @property
    def busy(self) -> Mapping[str, Runner]:
        """The schedules that are in progress, each with who runs it."""
        return {name: ending.runner for name, ending in list(self._busy.items())}

    def look_at_all(self) -> None:
        """See whether anything is owed, whatever the timer thinks."""
        for name in list(self.timings):
            self.look(name)

    def look(self, name: str) -> None:
        """Begin what the last due time of a schedule still owes, unless the schedule is in progress."""
        with self._guard:
            now = self._context.clock()
            if now - self._looked > PUNCTUAL or now < self._looked:  # we slept, or the clock was set
                self._attended = now - PUNCTUAL
            self._looked = now
            due = self.timings[name].latest(now) if name in self.timings else None
            if (
                due is None
                or name in self._busy
                or self._runner.stop.is_set()
                or self._settled.get(name) == due.nominal
            ):
                return
            try:
                self._decide(name, due, now)
            except StoreError as error:  # looked at again soon: nothing is settled
                _log.critical("schedule.broke", schedule=name, error=str(error))

    def look_for_the_lost(self) -> None:
        """See whether a server that did not answer, and that nobody waits for now, does so again: its alert is over."""
        with self._guard:
            at_work = {task.database for task in self._runner.at_work().values()}
            with self._context.store.reading() as transaction:
                lost = {alert.database for alert in alert_store.open_alerts(transaction) if alert.kind == UNREACHABLE}
            for database in lost & self._context.config.databases.keys() - at_work:
                threading.Thread(
                    target=_probe, args=(self._context, database), name=f"probe {database}", daemon=True
                ).start()

    def stop(self) -> None:
        """Begin nothing more."""
        for queue in list(self._queues.values()):
            queue.shutdown(wait=False)  # what is queued sees that we stop, and ends

    def _decide(self, name: str, due: Due, now: datetime) -> None:
        schedule = self._context.config.timetable[name]
        left = due.instant + schedule.window - now
        if not self._owed(name, due):
            self._settled[name] = due.nominal
        elif schedule.catch_up == "always" or (left > timedelta() and self._may_begin(name, due)):
            self._begin(name, due, left if left > timedelta() else schedule.window)
        else:
            why = "its window is over" if left <= timedelta() else "it is not to be caught up"
            self._missed(name, due, why)
            self._settled[name] = due.nominal

    def _may_begin(self, name: str, due: Due) -> bool:
        """Say whether a due time is begun in its window: `never` means what was missed, not what was interrupted."""
        if self._context.config.timetable[name].catch_up != "never" or due.instant >= self._attended:
            return True
        with self._context.store.reading() as transaction:
            return history.tried(transaction, Trigger(name, due.nominal))

    def _owed(self, name: str, due: Due) -> bool:
        """Say whether a due time still owes a run; what was planned only after it owes nothing."""
        schedule = self._context.config.timetable[name]
        planned = list(tasks_of(self._context, schedule.jobs, Trigger(name, due.nominal)))
        now = self._context.clock()
        with self._context.store.transaction() as transaction:
            since = {
                task: history.known_since(transaction, task, str(schedule.cron), now) for task in planned
            }
            return any(
                due.instant >= since[task] and not history.accounted(transaction, task) for task in planned
            )

    def _begin(self, name: str, due: Due, left: timedelta) -> None:
        schedule = self._context.config.timetable[name]
        trigger = Trigger(name, due.nominal)
        window = opens_for(left.total_seconds(), schedule.window.total_seconds())
        places: dict[str, list[Task]] = {}
        for task in owed_tasks(self._context, schedule.jobs, trigger):
            places.setdefault(task.place, []).append(task)
        last = places.pop(Scope.SERVICE.value, [])
        _log.info("schedule.due", schedule=name, nominal=trigger.minute(), places=list(places))
        if self._pinged.get(name) != due.nominal:
            self._pinged[name] = due.nominal
            self._heartbeat.ping(schedule.heartbeat, "/start")
        ending = self._busy[name] = _Ending(self._context, self._runner, name, due, window)
        try:
            begun = [self._queue(place).submit(self._work, ending, todo) for place, todo in places.items()]
            threading.Thread(target=self._end, args=(begun, last, ending), name=f"end of {name}", daemon=True).start()
        except RuntimeError as error:  # no thread is to be had; or the queues are closed
            del self._busy[name]
            _log.critical("schedule.broke", schedule=name, error=str(error))

    def _queue(self, place: str) -> ThreadPoolExecutor:
        with self._guard:
            if place not in self._queues:
                self._queues[place] = ThreadPoolExecutor(1, thread_name_prefix=place)
            return self._queues[place]

    def _work(self, ending: "_Ending", todo: Sequence[Task]) -> None:
        """Run a list in one place, in order. A failing state file ends it, not the service: it is looked at again."""
        for task in todo:
            if ending.runner.stop.is_set():
                return
            try:
                ending.runner.run(task, ending.window)
            except StoreError as error:
                _log.critical("run.unrecorded", task=task.job, database=task.database, error=str(error))
                return

    def _end(self, begun: "Sequence[Future[None]]", last: Sequence[Task], ending: "_Ending") -> None:
        """When all places are done: the report, the books, and a look whether it is due again already."""
        closed = False
        try:
            for one in wait(begun).done:
                if one.exception() is not None:
                    _log.critical("run.broke", schedule=ending.name, error=repr(one.exception()))
            if last and not ending.runner.stop.is_set():
                wait([self._queue(Scope.SERVICE.value).submit(self._work, ending, last)])
            closed = self._close(ending)
        except (StoreError, RuntimeError) as error:  # RuntimeError: we are stopping, and the queue is closed
            _log.critical("schedule.broke", schedule=ending.name, error=str(error))
        finally:
            with self._guard:
                del self._busy[ending.name]
        if closed:  # else it is tried again when the service looks around
            self.look(ending.name)

    def _close(self, ending: "_Ending") -> bool:
        """Say whether all of it is accounted for; then its alert is over, and the heartbeat hears how it went."""
        context, name, trigger = ending.context, ending.name, Trigger(ending.name, ending.due.nominal)
        if ending.runner.stop.is_set() or owed_tasks(context, context.config.timetable[name].jobs, trigger):
            return False
        with context.store.transaction() as transaction:
            tell_within(transaction, context, [], [Coverage(MISSED, task=name)])
            ends = history.ends(transaction, trigger)
        wrong = [f"{place}: {state}" for place, state in ends if state in _WRONG]
        self._heartbeat.end(context.config.timetable[name].heartbeat, wrong)
        with self._guard:
            self._settled[name] = ending.due.nominal
        return True

    def _missed(self, name: str, due: Due, why: str) -> None:
        """Write down that it did not run, and tell it."""
        _log.error("schedule.missed", schedule=name, nominal=str(due.nominal), reason=why)
        trigger = Trigger(name, due.nominal)
        identity = Identity(MISSED, self._context.config.daemon.name, task=name)
        summary = f"schedule {name} of {due.nominal:%Y-%m-%d %H:%M} did not run, and {why}"
        finding = Finding(identity, Severity.HIGH, summary, remedy=f"sereno now {name}")
        now = self._context.clock()
        unrun = owed_tasks(self._context, self._context.config.timetable[name].jobs, trigger)
        with self._context.store.transaction() as transaction:
            for task in unrun:
                number = history.begin(transaction, task, now)
                history.finish(transaction, number, (RunState.SKIPPED.value, f"missed: {why}", 0), now)
            tell_within(transaction, self._context, [finding], [])


def _probe(context: Context, database: str) -> None:
    with contextlib.suppress(TargetError, StoreError), session(context.target(database), "maintain", "probe"):
        tell(context, [], [Coverage(UNREACHABLE, database)])


@dataclass(frozen=True, slots=True)
class _Ending:
    """What the end of a list needs to know of its beginning."""

    context: Context
    runner: Runner
    name: str
    due: Due
    window: Window
