"""What would be run, and what the checks see: asked by a person; nothing is written, told or locked."""

import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

from checks.check import Place
from daemon.circumstances import Circumstances
from daemon.jobs.job import Errand, Scope, Verdict
from daemon.parts import Parts
from daemon.screen import Silent
from daemon.sessions import Sessions
from postgres.connection import Session
from postgres.executor import Executor
from postgres.step import Outcome, Step
from postgres.window import opens_for


def plan(parts: Parts, errand: Errand) -> Sequence[Step]:
    """Return what would be run now."""
    with _seen(parts, errand) as (circumstances, opened):
        return errand.job.plan(errand.job.observe(circumstances.looking(errand, opened)))


def look(parts: Parts, errand: Errand, names: Collection[str]) -> Iterator[tuple[Step, Outcome, Verdict]]:
    """Ask the named checks of a job that only looks."""
    with _seen(parts, errand) as (circumstances, opened):
        planned = errand.job.plan(errand.job.observe(circumstances.looking(errand, opened)))
        steps = [step for step in planned if step.object in names]
        cluster = opened.facts.system_identifier if opened is not None else ""
        place = Place(parts.config.daemon.name, cluster, errand.database)
        for handful in Executor(circumstances.terms(opens_for(None), None), [opened]).run(steps):
            for step, outcome in handful:
                yield step, outcome, errand.job.judge(step, outcome, place)


@contextmanager
def _seen(parts: Parts, errand: Errand) -> Iterator[tuple[Circumstances, Session | None]]:
    """Open a read-only session where the errand has one."""
    sessions = Sessions(parts, threading.Event())
    circumstances = Circumstances(parts, sessions, Silent())
    if errand.scope is not Scope.DATABASE:
        yield circumstances, None
        return
    with sessions.open(errand.database, errand.job, read_only=True) as opened:
        sessions.recognise(opened, remember=False)
        yield circumstances, opened
