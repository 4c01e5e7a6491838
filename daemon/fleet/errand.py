"""An errand: the tasks of a due time in one database, as they are handed to a worker. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from domain.task import Scope, Task, Trigger


@dataclass(frozen=True, slots=True)
class Errand:
    """Tasks of one database, the end of their window, and how long the whole window is."""

    tasks: Sequence[Task]
    ends_at: datetime
    window_seconds: float

    @property
    def database(self) -> str:
        """Return the database of the tasks."""
        return self.tasks[0].database

    @property
    def trigger(self) -> Trigger:
        """Return the due time."""
        return self.tasks[0].trigger

    def to_json(self) -> dict[str, Any]:
        """Return it as values of JSON."""
        return {
            "schedule": self.trigger.schedule,
            "nominal": self.trigger.minute(),
            "database": self.database,
            "jobs": [task.job for task in self.tasks],
            "ends_at": self.ends_at.isoformat(),
            "window_seconds": self.window_seconds,
        }


def from_json(values: dict[str, Any]) -> Errand:
    """Return the errand of `to_json`."""
    trigger = Trigger(values["schedule"], datetime.fromisoformat(values["nominal"]))
    database = values["database"]
    tasks = [Task(job, Scope.DATABASE, database, trigger) for job in values["jobs"]]
    ends_at = datetime.fromisoformat(values["ends_at"])
    return Errand(tasks, ends_at, float(values["window_seconds"]))
