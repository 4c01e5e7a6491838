"""The order of the tasks of a due time: the longest wait for a turn goes first. Pure.

A job that takes the whole window leaves nothing for those after it. So a task that had no turn the
last time goes before one that had; otherwise the order of the configuration stands.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from domain.task import Task

Place = tuple[str, str, str]
"""Job, scope and database."""


@dataclass(frozen=True, slots=True)
class PastRun:
    """One run of an earlier due time of the same schedule."""

    job: str
    scope: str
    database: str
    nominal: str
    """The due time as sortable text."""
    seconds: float
    unfinished: bool
    """Whether the window ended, or the governor paused for too long, before it was done."""


def in_turn(tasks: Iterable[Task], runs: Sequence[PastRun]) -> list[Task]:
    """Return the tasks, those first whose last turn is longest ago; new ones keep their place."""
    turns = last_turns(runs)
    latest = max(turns.values(), default="")
    known = {(run.job, run.scope, run.database) for run in runs}

    def last_turn(task: Task) -> str:
        place = (task.job, task.scope.value, task.database)
        return turns.get(place, "") if place in known else latest

    return sorted(tasks, key=last_turn)


def last_turns(runs: Sequence[PastRun]) -> dict[Place, str]:
    """Return the due time at which each task last had a turn.

    It had one if it was done, or if no other unfinished run in its database took longer.
    """
    found: dict[Place, str] = {}
    by_due_time = sorted(runs, key=lambda run: (run.nominal, run.scope, run.database))
    for (nominal, _, _), some in groupby(
        by_due_time, key=lambda run: (run.nominal, run.scope, run.database)
    ):
        together = list(some)
        longest = max(
            (run for run in together if run.unfinished), key=lambda run: run.seconds, default=None
        )
        for run in together:
            if not run.unfinished or run is longest:
                found[run.job, run.scope, run.database] = nominal
    return found
