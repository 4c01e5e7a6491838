"""`sereno plan`: the same observe and plan as at night, in read-only sessions."""

from collections import defaultdict
from collections.abc import Sequence

import psycopg

from daemon.errands import errands
from daemon.parts import Parts
from daemon.preview import plan
from postgres.connection import TargetError
from postgres.executor import begins, exempt
from postgres.step import Step
from postgres.trouble import first_line
from postgres.window import UNLIMITED


def planned(
    wired: Parts, jobs: Sequence[str], only: str | None, seconds: float = UNLIMITED
) -> tuple[list[dict[str, str]], list[str]]:
    """Return every step in order, which of them a window of so many seconds would not see begun, and what kept us."""
    entries, problems = [], []
    used: dict[str, float] = defaultdict(float)
    for errand in errands(wired.config, jobs, only=only):
        try:
            steps = plan(wired, errand)
        except (TargetError, psycopg.Error, OSError) as error:
            problems.append(f"{errand.job.name} {errand.database}: {first_line(error)}")
            continue
        cut = _cut(steps, errand.job.lanes(wired.config), used[errand.place], seconds)
        used[errand.place] = max((ends for ends in cut if ends is not None), default=used[errand.place])
        entries += [
            {
                "job": errand.job.name,
                "database": errand.database,
                "scope": errand.scope.value,
                "step": step.name,
                "object": step.object,
                "why": step.why,
                "lock": step.lock,
                "seconds": f"{step.predicted_seconds:.1f}" if step.predicted_seconds else "",
                "in_window": "yes" if ends is not None else "no",
                "sql": step.statement(),
            }
            for step, ends in zip(steps, cut, strict=True)
        ]
    return entries, problems


def _cut(steps: Sequence[Step], lanes: int, since: float, seconds: float) -> list[float | None]:
    """Return when each step would end, in seconds from the window's beginning; None: it would not be begun.

    As the executor does it: who is free takes the next step that fits; what is urgent needs no window.
    """
    free, found = [since] * lanes, []
    for step in steps:
        lane = free.index(min(free))
        left = seconds - free[lane]
        fits = exempt(step, left) or begins(step, left, seconds)
        if fits:
            free[lane] += step.predicted_seconds
        found.append(free[lane] if fits else None)
    return found
