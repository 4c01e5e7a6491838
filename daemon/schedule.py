"""The timer. The only module that knows APScheduler, which is told instants: the calendar decides, not its triggers."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.date import DateTrigger


class Schedule:
    """Calls back at instants, one at a time, however late: whether a late call still makes sense is the caller's."""

    def __init__(self) -> None:
        self._scheduler: Any = BackgroundScheduler(
            timezone="UTC",
            executors={"default": {"type": "threadpool", "max_workers": 1}},
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
        )

    def at(self, instant: datetime, name: str, call: Callable[[], None]) -> None:
        """Call once at an instant. Each instant is a job of its own: one that is late drops no other."""
        self._scheduler.add_job(
            call, DateTrigger(instant), id=f"{name} {instant.isoformat()}", name=name, replace_existing=True
        )

    def start(self) -> None:
        """Begin to call."""
        self._scheduler.start()

    def stop(self) -> None:
        """Call no more; wait for the call in progress."""
        self._scheduler.shutdown(wait=True)
