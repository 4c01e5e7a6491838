"""`sereno plan`: the same observe and plan as at night, in read-only sessions."""

from collections.abc import Sequence

import psycopg

from daemon.errands import errands
from daemon.parts import Parts
from daemon.preview import plan
from postgres.connection import TargetError
from postgres.executor import first_line


def planned(wired: Parts, jobs: Sequence[str], only: str | None) -> tuple[list[dict[str, str]], list[str]]:
    """Return every step in order, and what kept us from looking."""
    entries, problems = [], []
    for errand in errands(wired.config, jobs, only=only):
        try:
            steps = plan(wired, errand)
        except (TargetError, psycopg.Error, OSError) as error:
            problems.append(f"{errand.job.name} {errand.database}: {first_line(error)}")
            continue
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
                "sql": step.statement(),
            }
            for step in steps
        ]
    return entries, problems
