"""The timer; the only module that imports APScheduler.

It only adds precision: the service also looks for due schedules every ten seconds. So setting the
clock or suspending the machine loses nothing and runs nothing twice.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from daemon.scheduling.timetable import Timing

BEAT_SECONDS = 20


class CalendarTrigger(BaseTrigger):  # type: ignore[misc]  # APScheduler has no types
    """Fires at the due times of a schedule; several missed ones fire once."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing

    def get_next_fire_time(
        self, previous_fire_time: datetime | None, now: datetime
    ) -> datetime | None:
        """Return the next due time."""
        due = next(self._timing.upcoming(max(previous_fire_time or now, now)), None)
        if due is None:
            return None
        return due.instant


class BeatTrigger(BaseTrigger):  # type: ignore[misc]  # APScheduler has no types
    """Fires at a fixed interval; intervals skipped by a clock change are not made up."""

    def get_next_fire_time(self, _previous: datetime | None, now: datetime) -> datetime:
        """Return the next time."""
        return now + timedelta(seconds=BEAT_SECONDS)


class Timer:
    """Calls functions at due times, one at a time."""

    def __init__(self, beat: Callable[[], None]) -> None:
        self._scheduler: Any = BackgroundScheduler(
            timezone="UTC",
            executors={"default": {"type": "threadpool", "max_workers": 1}},
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
        )
        self._beat = beat
        self._scheduler.start()
        self.restart_heartbeat()

    def restart_heartbeat(self) -> None:
        """Restart the interval, which was planned by a clock that has been set since."""
        self._scheduler.add_job(self._beat, BeatTrigger(), id=" beat", replace_existing=True)

    def plan(self, name: str, timing: Timing, call: Callable[[], None]) -> datetime | None:
        """Call a function at every due time of a schedule; return the next due time."""
        job = self._scheduler.add_job(
            call, CalendarTrigger(timing), id=name, name=name, replace_existing=True
        )
        next_time: datetime | None = job.next_run_time
        return next_time

    def forget(self, name: str) -> None:
        """Remove a schedule."""
        self._scheduler.remove_job(name)

    def wake(self) -> None:
        """Compare with the wall clock now; waits use the monotonic clock."""
        self._scheduler.wakeup()

    def stop(self) -> None:
        """Stop after the call in progress."""
        self._scheduler.shutdown(wait=True)
