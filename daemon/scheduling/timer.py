"""The timer. The only module that knows APScheduler; the calendar decides when, by a trigger of our own.

The timer is for precision only: whoever is called looks what is due and still owed, and does so now and then
uncalled, too. So a wall clock that is set, or a machine that slept, loses nothing and doubles nothing.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from daemon.scheduling.timetable import Timing

BEAT_SECONDS = 20


class CalendarTrigger(BaseTrigger):  # type: ignore[misc]  # APScheduler has no types
    """Fires at the due times of a schedule; several that were slept through are one."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        """Return the first due time that is still to come."""
        due = next(self._timing.upcoming(max(previous_fire_time or now, now)), None)
        return None if due is None else due.instant


class BeatTrigger(BaseTrigger):  # type: ignore[misc]  # APScheduler has no types
    """Fires every so often; of what a clock that was set has skipped, nothing is made up for."""

    def get_next_fire_time(self, _previous: datetime | None, now: datetime) -> datetime:
        """Return the next beat."""
        return now + timedelta(seconds=BEAT_SECONDS)


class Schedule:
    """Calls back at due times; a call is short, and one at a time."""

    def __init__(self, beat: Callable[[], None]) -> None:
        self._scheduler: Any = BackgroundScheduler(
            timezone="UTC",
            executors={"default": {"type": "threadpool", "max_workers": 1}},
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
        )
        self._beat = beat
        self._scheduler.start()
        self.beat_again()

    def beat_again(self) -> None:
        """Begin to beat anew: the next one was planned by a clock that has been set since."""
        self._scheduler.add_job(self._beat, BeatTrigger(), id=" beat", replace_existing=True)

    def plan(self, name: str, timing: Timing, call: Callable[[], None]) -> datetime | None:
        """Call whenever a schedule is due, instead of what was planned under its name; return when that is next."""
        job = self._scheduler.add_job(call, CalendarTrigger(timing), id=name, name=name, replace_existing=True)
        next_time: datetime | None = job.next_run_time
        return next_time

    def forget(self, name: str) -> None:
        """Call no more for a schedule."""
        self._scheduler.remove_job(name)

    def wake(self) -> None:
        """Compare with the wall clock now: a wait is measured on the monotonic one, which knows of no setting."""
        self._scheduler.wakeup()

    def stop(self) -> None:
        """Call no more; wait for the call in progress."""
        self._scheduler.shutdown(wait=True)
