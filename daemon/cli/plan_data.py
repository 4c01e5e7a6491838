"""`sereno plan`: the same observe and plan as at night, in read-only sessions."""

from collections import defaultdict
from collections.abc import Sequence

import psycopg

from daemon.context import Context
from daemon.runs.dry_run import plan_task
from daemon.runs.run_context import job_settings
from daemon.scheduling.tasks import tasks_of
from execution.errors import first_line
from execution.executor import fits_window, has_no_history, ignores_window
from execution.step import Step
from execution.window import UNLIMITED
from postgres.session import TargetError


def plan_entries(
    context: Context, jobs: Sequence[str], only: str | None, seconds: float = UNLIMITED
) -> tuple[list[dict[str, str]], list[str]]:
    """Return every step in order, which of them a window of so many seconds would not see begun, and what kept us."""
    entries, problems = [], []
    used: dict[str, float] = defaultdict(float)
    for task in tasks_of(context, jobs, only=only):
        try:
            steps = plan_task(context, task)
        except (TargetError, psycopg.Error, OSError) as error:
            problems.append(f"{task.job} {task.database}: {first_line(error)}")
            continue
        lanes = [used[task.place]] * context.jobs[task.job].lanes(
            context.config.job(task.job), job_settings(context.config)
        )
        cut = _cut(lanes, steps, seconds)
        used[task.place] = max(lanes)
        entries += [
            {
                "job": task.job,
                "database": task.database,
                "scope": task.scope.value,
                "step": step.name,
                "object": step.object,
                "why": step.why,
                "lock": step.lock,
                "seconds": f"{step.predicted_seconds:.1f}" if step.predicted_seconds else "",
                "in_window": fate,
                "sql": step.statement(),
            }
            for step, fate in zip(steps, cut, strict=True)
        ]
    return entries, problems


def _cut(lanes: list[float], steps: Sequence[Step], seconds: float) -> list[str]:
    """Say of each step whether the window would see it begun.

    `yes`, `no`, or `tried`, where nobody knows yet. As the executor does it: who is free (`lanes`:
    from when on each is) takes the next step that fits; what is urgent needs no window; one that
    was never done before is tried in the window's first half.
    """
    found = []
    for step in steps:
        lane = lanes.index(min(lanes))
        left = seconds - lanes[lane]
        free = ignores_window(step, left)
        if not (free or fits_window(step, left, seconds)):
            found.append("no")
            continue
        known = 0 < step.predicted_seconds <= left or not has_no_history(step)
        found.append("yes" if free or known else "tried")
        lanes[lane] += step.predicted_seconds
    return found
