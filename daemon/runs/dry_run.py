"""Planning and checking for `sereno plan` and `sereno check`: nothing is written or locked."""

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from daemon.context import Context
from daemon.runs.run_context import RunContext
from daemon.runs.sessions import Sessions
from daemon.runs.workers import Workers
from domain.place import Place
from domain.task import Scope, Task
from execution import governor
from execution.executor import Executor
from execution.progress import NoProgress
from execution.step import Outcome, Step
from execution.window import open_window
from jobs.job import Verdict
from jobs.steps.check_step import checked_by
from postgres.fencing.delete_permission import refusal_reason
from postgres.session import MAINTAIN, Login, Session


def plan_task(context: Context, task: Task) -> Sequence[Step]:
    """Return the steps that a run would have now."""
    job = context.jobs[task.job]
    with _opened_run(context, task) as (runtime, workers):
        return job.plan(job.observe(runtime.job_inputs(task, workers)))


def run_checks(
    context: Context, task: Task, names: Collection[str]
) -> Iterator[tuple[Step, Outcome, Verdict]]:
    """Yield the outcomes and verdicts of the named checks."""
    job = context.jobs[task.job]
    with _opened_run(context, task) as (runtime, workers):
        planned = job.plan(job.observe(runtime.job_inputs(task, workers)))
        steps = [step for step in planned if checked_by(step) in names]
        cluster = ""
        lanes: Mapping[Login, Sequence[Session | None]] = {MAINTAIN: [None]}
        if workers is not None:
            cluster = workers.session(MAINTAIN).facts.system_identifier
            lanes = workers.lanes(steps, 1)
        place = Place(context.config.daemon.name, cluster, task.database)
        # a look changes nothing, so a pause of the work does not concern it
        limits = runtime.terms(open_window(None), None)
        terms = replace(limits, sample=governor.Sample, orders=governor.Sample)
        for batch in Executor(terms, lanes).run(steps):
            for step, outcome in batch:
                yield step, outcome, job.judge(step, outcome, place)


@contextmanager
def _opened_run(context: Context, task: Task) -> Iterator[tuple[RunContext, Workers | None]]:
    """Prepare read-only sessions if the task is in a database."""
    sessions = Sessions(context, threading.Event())
    runtime = RunContext(context, sessions, NoProgress())
    if task.scope is not Scope.DATABASE:
        yield runtime, None
        return
    with ExitStack() as stack:
        yield runtime, Workers(sessions, context, task, None, stack)


def pause_reason(context: Context, database: str) -> str:
    """Return why work in a database would wait now; empty if it would not."""
    task = Task("analyze", Scope.DATABASE, database)
    with _opened_run(context, task) as (runtime, workers):
        assert workers is not None  # noqa: S101 - the scope is a database
        terms = runtime.terms(open_window(None), workers.session(MAINTAIN))
        return governor.pause_reason(terms.sample(), terms.limits) or ""


def task_refusal(context: Context, task: Task) -> str:
    """Return why `sereno now` would refuse a task that deletes; empty if it would not."""
    job = context.jobs[task.job]
    if not job.deletes or task.scope is not Scope.DATABASE:
        return ""
    instance = context.store.instance()
    with _opened_run(context, task) as (_, workers):
        assert workers is not None  # noqa: S101 - the scope is a database
        reasons = [
            one.domain.wrong or refusal_reason(one.opened, instance, one.domain)
            for one in workers.all()
        ]
    if all(reasons):
        return next(iter(reasons), "")
    return ""
