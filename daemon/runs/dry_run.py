"""What would be run, and what the checks see: asked by a person; nothing is written, told or locked."""

import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

from daemon.context import Context
from daemon.runs.run_context import Circumstances
from daemon.runs.sessions import Sessions
from domain.place import Place
from domain.task import Scope, Task
from execution.executor import Executor
from execution.progress import NoProgress
from execution.step import Outcome, Step
from execution.window import opens_for
from jobs.job import Verdict
from postgres.session import Session


def plan(context: Context, task: Task) -> Sequence[Step]:
    """Return what would be run now."""
    job = context.jobs[task.job]
    with _seen(context, task) as (circumstances, opened):
        return job.plan(job.observe(circumstances.job_inputs(task, opened)))


def look(context: Context, task: Task, names: Collection[str]) -> Iterator[tuple[Step, Outcome, Verdict]]:
    """Ask the named checks of a job that only looks."""
    job = context.jobs[task.job]
    with _seen(context, task) as (circumstances, opened):
        planned = job.plan(job.observe(circumstances.job_inputs(task, opened)))
        steps = [step for step in planned if step.object in names]
        cluster = opened.facts.system_identifier if opened is not None else ""
        place = Place(context.config.daemon.name, cluster, task.database)
        for handful in Executor(circumstances.terms(opens_for(None), None), [opened]).run(steps):
            for step, outcome in handful:
                yield step, outcome, job.judge(step, outcome, place)


@contextmanager
def _seen(context: Context, task: Task) -> Iterator[tuple[Circumstances, Session | None]]:
    """Open a read-only session where the task has one."""
    sessions = Sessions(context, threading.Event())
    circumstances = Circumstances(context, sessions, NoProgress())
    if task.scope is not Scope.DATABASE:
        yield circumstances, None
        return
    with sessions.open(task.database, context.jobs[task.job], read_only=True) as opened:
        sessions.recognise(opened, remember=False)
        yield circumstances, opened
