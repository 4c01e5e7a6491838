"""`sereno plan`: the same observe and plan as at night, in read-only sessions."""

from collections.abc import Sequence

import psycopg

from daemon.parts import Parts
from daemon.runner import Runner
from daemon.screen import Silent
from postgres.connection import TargetError
from postgres.executor import first_line


def planned(wired: Parts, jobs: Sequence[str], only: str | None) -> tuple[list[dict[str, str]], list[str]]:
    """Return every step in order, and what kept us from looking."""
    runner = Runner(wired, Silent())
    entries, problems = [], []
    for errand in runner.errands(jobs, only=only):
        try:
            steps = runner.plan(errand)
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
