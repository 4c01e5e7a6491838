"""`sereno plan`: the steps that would run now, from read-only sessions."""

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.options import (
    ConfigOption,
    DatabaseOption,
    JsonOption,
    TagOption,
    open_context,
    print_json,
)
from daemon.exit_codes import Exit

if TYPE_CHECKING:
    from daemon.context import Context
    from domain.task import Task
    from execution.step import Step

MOST_LINES = 2
"""Steps of one job in one database that are listed one by one; more are summarized."""
MOST_NAMES = 6
WindowOption = Annotated[
    str | None,
    typer.Option(
        "--window", help='Show the steps that fit a window like "30m".', show_default=False
    ),
]
_WINDOW_NOTES = {"yes": "", "no": "not in this window", "tried": "duration unknown, is tried"}


@dataclass(frozen=True, slots=True)
class _Planned:
    """One planned step."""

    task: "Task"
    step: "Step"
    in_window: str
    entry: str = ""
    """The configuration entry that names its object, for a refusal."""

    @property
    def place(self) -> str:
        return self.task.database or self.task.scope.value

    @property
    def refused(self) -> bool:
        from domain.cause import Cause
        from execution.skipped import SkippedStep

        return isinstance(self.step, SkippedStep) and self.step.cause is Cause.REFUSED

    def as_json(self) -> dict[str, str]:
        seconds = self.step.predicted_seconds
        return {
            "job": self.task.job,
            "database": self.task.database,
            "scope": self.task.scope.value,
            "step": self.step.name,
            "object": self.step.object,
            "why": self.step.why,
            "lock": self.step.lock,
            "seconds": f"{seconds:.1f}" if seconds else "",
            "in_window": self.in_window,
            "refused": "yes" if self.refused else "",
            "sql": self.step.statement(),
        }


@dataclass(slots=True)
class _Plan:
    """The planned steps, the places that could not be planned, and the refusals of whole tasks."""

    steps: list[_Planned]
    problems: list[tuple[str, str, str]]
    """Job, database and error of each task that could not be planned."""
    refusals: list[tuple[str, str, str]]
    """Job, database and reason of each task that `sereno now` would refuse."""
    pauses: dict[str, str]
    """Why work would wait, by database; empty if it would not."""
    left_out: list[str]
    """Databases in which a job would do nothing, with the reason."""
    unmatched: list[str]
    """Patterns that match no table."""


def plan(
    jobs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[JOB|SCHEDULE]...", help="Default: all jobs.", show_default=False),
    ] = None,
    config: ConfigOption = None,
    database: DatabaseOption = None,
    tag: TagOption = None,
    window: WindowOption = None,
    steps: Annotated[bool, typer.Option("--steps", help="List every step.")] = False,
    sql: Annotated[bool, typer.Option("--sql", help="Print the SQL of every step.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the steps that would run now, with their reasons. Changes nothing.

    Exits with 1 if steps are refused, with 2 if a database cannot be planned.
    """
    with open_context(config, database, tag, looks=True) as context:
        from daemon.cli.arguments import (
            chosen_databases,
            job_names,
            parse_jobs,
            parse_window,
        )
        from daemon.cli.unmatched_patterns import unmatched_patterns

        names = parse_jobs(context, jobs or job_names(context))
        length = parse_window(window).length
        only = chosen_databases(context, database, tag)
        planned = _plan(context, names, only, length)
        if only is None:
            planned.unmatched += unmatched_patterns(context, names)
        if as_json:
            _print_json(planned)
        else:
            _print(planned, names, window, steps=steps, sql=sql)
        if planned.problems:
            raise typer.Exit(Exit.CANNOT)
        refused = planned.refusals or any(one.refused for one in planned.steps)
        raise typer.Exit(Exit.FOUND if refused else Exit.FINE)


def _plan(
    context: "Context", names: Sequence[str], only: Collection[str] | None, seconds: float
) -> _Plan:
    import psycopg

    from daemon.cli.unreachable import DISCOVER
    from daemon.runs.dry_run import plan_task
    from daemon.runs.run_context import job_settings
    from daemon.scheduling.tasks import left_out, tasks_of
    from execution.errors import first_line
    from execution.schedule_preview import preview
    from postgres.session import TargetError

    problems = [(DISCOVER, group, reason) for group, reason in context.unasked.items()]
    planned = _Plan([], problems, [], {}, left_out(context, names, only), [])
    used: dict[str, float] = defaultdict(float)
    settings = job_settings(context.config)
    for task in tasks_of(context, names, only=only):
        try:
            steps = plan_task(context, task)
        except (TargetError, psycopg.Error, OSError) as error:
            planned.problems.append((task.job, task.database, first_line(error)))
            continue
        refusal = _refusal(context, task, planned.pauses, has_steps=bool(steps))
        if refusal:
            planned.refusals.append((task.job, task.database, refusal))
        job = context.jobs[task.job]
        lanes = [used[task.place]] * job.lanes(context.config.job(task.job), settings)
        placements = preview(lanes, steps, seconds)
        used[task.place] = max(lanes)
        planned.steps += [
            _Planned(task, step, placement, _entry(context, task, step.object))
            for step, placement in zip(steps, placements, strict=True)
        ]
    return planned


def _refusal(context: "Context", task: "Task", pauses: dict[str, str], *, has_steps: bool) -> str:
    """Return why a task would be refused; note why its database waits, the first time."""
    import psycopg

    from daemon.runs.dry_run import pause_reason, task_refusal
    from execution.errors import first_line
    from postgres.session import TargetError

    try:
        if task.database and task.database not in pauses:
            pauses[task.database] = pause_reason(context, task.database)
        return task_refusal(context, task) if has_steps else ""
    except (TargetError, psycopg.Error, OSError) as error:
        return first_line(error)


def _entry(context: "Context", task: "Task", name: str) -> str:
    options = context.config.job(task.job)
    for number, entry in enumerate(getattr(options, "tables", ())):
        if str(entry.table) == name:
            return f" (jobs.{task.job}.tables[{number}])"
    return ""


def _print_json(planned: _Plan) -> None:
    from daemon.cli.unreachable import without_name

    print_json(
        {
            "steps": [one.as_json() for one in planned.steps],
            "refusals": [
                {"job": job, "database": name, "reason": reason}
                for job, name, reason in planned.refusals
            ],
            "left_out": planned.left_out,
            "unmatched": planned.unmatched,
            "pauses": {name: reason for name, reason in planned.pauses.items() if reason},
            "problems": [
                f"{job} {name}: {without_name(name, reason)}"
                for job, name, reason in planned.problems
            ],
        }
    )


def _print(
    planned: _Plan, names: Sequence[str], window: str | None, *, steps: bool, sql: bool
) -> None:
    from daemon.cli.output import line, prose

    for job in names:
        of_job = [one for one in planned.steps if one.task.job == job and not one.refused]
        if steps or sql:
            _print_steps(of_job, sql=sql)
        elif of_job:
            _print_summary(job, of_job)
    idle = _idle_jobs(planned, names)
    if idle:
        line(f"{', '.join(idle)}: nothing is due")
    _print_refusals(planned)
    _print_notes(planned)
    _print_problems(planned)
    if window:
        _print_window(planned.steps, window)
    locks = sorted({one.step.lock for one in planned.steps} - {""})
    hint = _hint(steps=steps, sql=sql)
    prose(f"Nothing was changed. Locks: {', '.join(locks) or 'none'}.{hint}")


def _print_notes(planned: _Plan) -> None:
    from daemon.cli.output import paint, prose

    for text in (*planned.left_out, *planned.unmatched):
        prose(f"{paint('NOTE', 'bold yellow')}  {text}")
    for name, reason in planned.pauses.items():
        if reason:
            prose(f"{paint('PAUSED', 'bold yellow')}  {name}: {reason}: the steps would wait")


def _hint(*, steps: bool, sql: bool) -> str:
    """Return the options that show more."""
    if sql:
        return ""
    if steps:
        return "  SQL: --sql"
    return "  Steps: --steps, SQL: --sql"


def _print_problems(planned: _Plan) -> None:
    from daemon.cli.output import line
    from daemon.cli.unreachable import next_step, print_unreachable

    print_unreachable(planned.problems)
    if planned.problems:
        line(next_step(planned.problems, "sereno plan"))


def _idle_jobs(planned: _Plan, names: Sequence[str]) -> list[str]:
    """Return the jobs with nothing to do in any database, in the order asked for."""
    busy = {one.task.job for one in planned.steps} | {job for job, _, _ in planned.problems}
    return [job for job in dict.fromkeys(names) if job not in busy]


def _print_refusals(planned: _Plan) -> None:
    for one in planned.steps:
        if one.refused:
            _print_refused(one.task.job, one.place, f"{one.step.object}: {one.step.why}{one.entry}")
    for job, name, reason in planned.refusals:
        _print_refused(job, name, reason)


def _print_steps(steps: Sequence[_Planned], *, sql: bool) -> None:
    from daemon.cli.output import fitted, prose, verbatim

    for one in steps:
        placement = _WINDOW_NOTES[one.in_window]
        seconds = ""
        if one.step.predicted_seconds:
            seconds = f"{one.step.predicted_seconds:.1f} s"
        fitted(f"{one.task.job}  {one.place}  {one.step.name}  ", one.step.object)
        detail = "; ".join(filter(None, (one.step.why, one.step.lock, seconds, placement)))
        prose(detail, indent=4)
        if sql and one.step.name != "check":
            text = one.step.statement()
            verbatim(text if text.startswith("--") else f"{text};", indent=4)


def _print_summary(job: str, steps: Sequence[_Planned]) -> None:
    from daemon.cli.output import line

    label = f"{job:<17}"
    by_place: dict[str, list[Step]] = defaultdict(list)
    for one in steps:
        by_place[one.place].append(one.step)
    if {one.step.name for one in steps} <= {"check", "measure"}:
        line(label + ", ".join(f"{len(here)} in {place}" for place, here in by_place.items()))
        return
    for place, here in by_place.items():
        if len(here) <= MOST_LINES:
            _print_each(label + place, here)
        else:
            _print_counted(label + place, here)
        label = " " * 17


def _print_each(label: str, steps: "Sequence[Step]") -> None:
    from daemon.cli.output import fitted, prose

    for step in steps:
        fitted(f"{label}  {step.name} ", step.object)
        prose(step.why, indent=18)
        label = " " * len(label)


def _print_counted(label: str, steps: "Sequence[Step]") -> None:
    from daemon.cli.output import counted, line, prose

    verbs = Counter(step.name for step in steps)
    what = ", ".join(counted(count, f"{verb} step") for verb, count in verbs.items())
    names = [step.object for step in steps[:MOST_NAMES]]
    if len(steps) > MOST_NAMES:
        names.append("…")
    line(f"{label}  {what}")
    prose(" ".join(names), indent=18)


def _print_refused(job: str, place: str, reason: str) -> None:
    from daemon.cli.output import line, paint, prose

    line(f"{paint('REFUSED', 'bold red')}  {job} {place}")
    prose(reason, indent=4)


def _print_window(steps: Sequence[_Planned], window: str) -> None:
    from daemon.cli.output import line

    placements = Counter(one.in_window for one in steps)
    tried = ""
    if placements["tried"]:
        tried = f", {placements['tried']} tried (duration unknown)"
    line(f"In {window}: {placements['yes']} of {len(steps)} steps{tried}, {placements['no']} left")
