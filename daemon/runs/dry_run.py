"""Planning and checking for `sereno plan` and `sereno check`: nothing is written or locked."""

import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

from daemon.context import Context
from daemon.runs.run_context import RunContext
from daemon.runs.sessions import Sessions
from domain.place import Place
from domain.task import Scope, Task
from execution.executor import Executor
from execution.progress import NoProgress
from execution.step import Outcome, Step
from execution.window import open_window
from jobs.job import Verdict
from postgres.fencing.delete_permission import refusal_reason
from postgres.session import Session, open_session


def plan_task(context: Context, task: Task) -> Sequence[Step]:
    """Return the steps that a run would have now."""
    job = context.jobs[task.job]
    with _opened_run(context, task) as (runtime, opened):
        return job.plan(job.observe(runtime.job_inputs(task, opened)))


def run_checks(
    context: Context, task: Task, names: Collection[str]
) -> Iterator[tuple[Step, Outcome, Verdict]]:
    """Yield the outcomes and verdicts of the named checks."""
    job = context.jobs[task.job]
    with _opened_run(context, task) as (runtime, opened):
        planned = job.plan(job.observe(runtime.job_inputs(task, opened)))
        steps = [step for step in planned if step.object in names]
        cluster = ""
        if opened is not None:
            cluster = opened.facts.system_identifier
        place = Place(context.config.daemon.name, cluster, task.database)
        for batch in Executor(runtime.terms(open_window(None), None), [opened]).run(steps):
            for step, outcome in batch:
                yield step, outcome, job.judge(step, outcome, place)


@contextmanager
def _opened_run(context: Context, task: Task) -> Iterator[tuple[RunContext, Session | None]]:
    """Open a read-only session if the task is in a database."""
    sessions = Sessions(context, threading.Event())
    runtime = RunContext(context, sessions, NoProgress())
    if task.scope is not Scope.DATABASE:
        yield runtime, None
        return
    with sessions.open(task.database, context.jobs[task.job], read_only=True) as opened:
        sessions.verify_server(opened, remember=False)
        yield runtime, opened


def task_refusal(context: Context, task: Task) -> str:
    """Return why `sereno now` would refuse a task that deletes; empty if it would not."""
    job = context.jobs[task.job]
    if not job.deletes or task.scope is not Scope.DATABASE:
        return ""
    target = context.target(task.database)
    with open_session(target, job.login, job.name, read_only=True) as session:
        return refusal_reason(session, context.store.instance())
