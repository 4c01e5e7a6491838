"""`sereno now`: runs jobs at once, with progress bars, and prints their work and findings."""

import signal
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daemon.cli.options import (
    ConfigOption,
    DatabaseOption,
    FailOnOption,
    JsonOption,
    TagOption,
    open_context,
    print_json,
)
from daemon.exit_codes import Exit

if TYPE_CHECKING:
    from daemon.cli.progress_bars import PlaceView
    from daemon.context import Context
    from daemon.runs.runner import FinishedRun
    from domain.task import Task
    from execution.window import Window
    from store.store import Row

DELIVERY_SECONDS = 20.0
LOCK_SECONDS = 3.0
"""A person learns soon that another sereno is working."""
MOST_UNDONE = 5
WindowOption = Annotated[
    str | None,
    typer.Option("--window", help='Begin no step after this time, like "30m".', show_default=False),
]
_TOLD = {"database_unreachable", "server_unreachable", "database_missing"}
"""Kinds of findings that the failed and skipped runs tell already."""
_PLURALS = {"database measured": "databases measured", "index": "indexes"}
_NOUNS = {
    "analyze": "table",
    "vacuum": "table",
    "delete": "table",
    "archive": "table",
    "check": "check",
    "measure": "database measured",
    "reindex": "index",
    "report": "page",
}


def now(
    jobs: Annotated[
        list[str], typer.Argument(metavar="JOB|SCHEDULE...", help="Jobs or schedules to run.")
    ],
    config: ConfigOption = None,
    database: DatabaseOption = None,
    tag: TagOption = None,
    window: WindowOption = None,
    steps: Annotated[bool, typer.Option("--steps", help="List every step.")] = False,
    fail_on: FailOnOption = "high",
    as_json: JsonOption = False,
) -> None:
    """Run jobs now; findings and failures alert as in a scheduled run.

    Exits with 1 if a run failed or a finding has the severity of --fail-on, with 75 if another
    sereno is working, with 3 if the window ended.
    """
    with open_context(config, database, tag, looks=True) as context:
        from daemon.cli import arguments
        from daemon.scheduling.tasks import left_out, tasks_of

        least = arguments.parse_severity(fail_on)
        names = arguments.parse_jobs(context, jobs)
        began = time.monotonic()
        unusable = _unusable_files(context)
        only = arguments.chosen_databases(context, database, tag)
        tasks = tasks_of(context, names, only=only)
        ran = run_tasks(context, tasks, arguments.parse_window(window), as_json=as_json)
        waiting = deliver(context, as_json=as_json)
        summary = _Summary(context, ran, time.monotonic() - began)
        if as_json:
            print_json(summary.as_json())
        else:
            summary.show(" ".join(jobs), waiting, steps=steps)
            _note(left_out(context, names, only))
        unusable = unusable or bool(context.unasked)
        raise typer.Exit(exit_code(ran, found=unusable or summary.has_finding(least)))


def _note(texts: "Sequence[str]") -> None:
    from daemon.cli.output import paint, prose

    for text in texts:
        prose(f"{paint('NOTE', 'bold yellow')}  {text}")


def _unusable_files(context: "Context") -> bool:
    """Alert about files of checks that cannot be used, and name them; return whether any is."""
    from daemon.check_files import unusable_files
    from domain.coverage import Coverage
    from domain.kinds import CONFIGURATION_INVALID

    found = unusable_files(context)
    # a refused reload, whose object is empty, is not judged here
    context.process_findings(found, [Coverage(CONFIGURATION_INVALID.name, apart=("",))])
    for finding in found:
        typer.echo(f"FAILED  {finding.summary}", err=True)
    return bool(found)


def run_tasks(
    context: "Context",
    tasks: "Iterable[Task]",
    window: "Window",
    patience_seconds: float = LOCK_SECONDS,
    *,
    as_json: bool,
) -> "list[FinishedRun]":
    """Run tasks, some places at once; Ctrl-C and SIGTERM stop them as in the service."""
    from rich.console import Console

    from daemon.cli.pause_lines import PauseLines
    from daemon.cli.progress_bars import MOST_BARS, Bars, RunsBar
    from daemon.cli.run_at_once import run_at_once
    from daemon.runs.runner import Runner

    console, tasks, runners = Console(stderr=True), list(tasks), list[Runner]()
    stop = threading.Event()

    def make_runner(shown: "PlaceView") -> Runner:
        runners.append(Runner(context, shown, patience_seconds, stop))
        return runners[-1]

    def halt(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        for runner in list(runners):
            runner.cancel_in_background()

    drawn: Bars | RunsBar | PauseLines = PauseLines(quiet=as_json)
    if console.is_terminal and not as_json:
        many = len({task.place for task in tasks}) > MOST_BARS
        drawn = RunsBar(console, len(tasks)) if many else Bars(console)
    before = {number: signal.signal(number, halt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with drawn as view:
            return run_at_once(context, tasks, window, view, make_runner)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def deliver(context: "Context", *, as_json: bool) -> int | None:
    """Deliver what a command has to tell; return the messages that are left."""
    from rich.console import Console

    from daemon.cli.delivery import deliver_pending

    console = Console(stderr=True)
    if as_json or not console.is_terminal:
        return deliver_pending(context, DELIVERY_SECONDS)
    with console.status("delivering alerts"):
        return deliver_pending(context, DELIVERY_SECONDS)


def exit_code(ran: "Sequence[FinishedRun]", *, found: bool) -> Exit:
    """Return the exit code; a failure outranks a busy database."""
    from daemon.runs.result import RunState
    from domain.cause import Cause

    states = {one.state for one in ran}
    if RunState.FAILED in states or found:
        return Exit.FOUND
    if any(one.cause is Cause.BUSY for one in ran):
        return Exit.BUSY
    if states & {RunState.WINDOW_ENDED, RunState.THROTTLED, RunState.INTERRUPTED}:
        return Exit.WINDOW
    return Exit.FINE


class _Summary:
    """The runs of one command with their recorded steps, findings and notifications."""

    def __init__(self, context: "Context", ran: "Sequence[FinishedRun]", seconds: float) -> None:
        from alerts import outbox
        from daemon.history import history

        self._seconds, self._unasked = seconds, context.unasked
        self._zone = context.config.daemon.timezone
        self.runs: list[dict[str, Any]] = []
        with context.store.reading() as transaction:
            for one in ran:
                run = history.load_run(transaction, one.number)
                if run is not None:
                    self.runs.append(
                        {
                            **run,
                            "steps": history.load_steps(transaction, one.number),
                            "findings": history.load_findings(transaction, one.number),
                        }
                    )
            numbers = [one.number for one in ran]
            self._notified = outbox.count_by_channel(transaction, numbers)
        self.findings = [finding for run in self.runs for finding in run["findings"]]

    def as_json(self) -> list[dict[str, Any]]:
        return self.runs

    def has_finding(self, least: str) -> bool:
        from domain.finding import Severity

        return any(Severity(one["severity"]) >= least for one in self.findings)

    def show(self, words: str, waiting: int | None, *, steps: bool) -> None:
        from daemon.cli.finding_lines import count_by_severity, print_findings
        from daemon.cli.output import prose
        from daemon.cli.unreachable import DISCOVER, next_step, print_unreachable
        from domain.finding import Severity

        self._show_jobs(steps=steps)
        failed = [run for run in self.runs if run["state"] == "failed"]
        problems = [(run["job"], run["database"], run["reason"]) for run in failed]
        problems += [(DISCOVER, group, reason) for group, reason in self._unasked.items()]
        print_unreachable(problems)
        self._show_states()
        if not steps:
            self._show_undone()
        named = [one for one in self.findings if one["kind"] != "task_failed"]
        shown = [one for one in named if one["kind"] not in _TOLD]
        print_findings(shown, Severity.WARNING)
        counts = count_by_severity(self.findings)
        prose(f"{self._finished()} Findings: {counts or 'none'}.")
        prose(f"{self._notifications(waiting)}{self._where_steps_are()}")
        if problems:
            prose(next_step(problems, f"sereno now {words}"))

    def _where_steps_are(self) -> str:
        """Return how to see the steps: those of the only run, or of the runs that have any."""
        numbers = sorted(run["id"] for run in self.runs if run["steps"])
        if not numbers:
            return ""
        if len(numbers) == 1:
            return f"Steps: sereno history {numbers[0]}"
        return f"Steps: --steps, or sereno history RUN ({numbers[0]} to {numbers[-1]})"

    def _by_job(self) -> dict[str, list[dict[str, Any]]]:
        """Return the runs by job, without those that failed before their first step."""
        jobs: dict[str, list[dict[str, Any]]] = {}
        for run in self.runs:
            if run["state"] != "failed" or run["steps"]:
                jobs.setdefault(run["job"], []).append(run)
        return jobs

    def _show_jobs(self, *, steps: bool) -> None:
        from daemon.cli.history import print_steps
        from daemon.cli.output import columns, line

        jobs = self._by_job()
        idle = [job for job, runs in jobs.items() if not any(run["steps"] for run in runs)]
        rows = [_job_row(job, runs) for job, runs in jobs.items() if job not in idle]
        for text in columns(rows, frozenset({2})):
            line(text)
        if idle and len(jobs) == len({run["job"] for run in self.runs}):
            line(f"nothing was due: {', '.join(idle)}")
        if steps:
            for run in self.runs:
                print_steps(run["steps"], _place(run))

    def _show_states(self) -> None:
        from daemon.cli.output import prose

        grouped: dict[tuple[str, str], list[str]] = {}
        for run in self.runs:
            if run["state"] not in {"finished", "failed"}:
                place = f"{run['job']} {run['database']}".strip()
                grouped.setdefault((run["state"], run["reason"]), []).append(place)
        for (state, reason), places in grouped.items():
            prose(f"{state}: {', '.join(places)}: {reason}")

    def _show_undone(self) -> None:
        from daemon.cli.output import counted, fitted, line, prose

        undone = [
            (run, step)
            for run in self.runs
            for step in run["steps"]
            if step["status"] not in {"done", "unfinished"}
        ]
        for run, step in undone[:MOST_UNDONE]:
            place = run["database"] or run["scope"]
            fitted(f"{step['status']}  {place} {step['name']} ", step["object"])
            prose(step["reason"], indent=4)
        if len(undone) > MOST_UNDONE:
            rest = counted(len(undone) - MOST_UNDONE, "more step")
            line(f"{rest} not done: --steps shows them")

    def _notifications(self, waiting: int | None) -> str:
        from daemon.cli.output import counted

        notified_counts = ", ".join(f"{name} {count}" for name, count in self._notified.items())
        if waiting:
            return f"{counted(waiting, 'message')} not delivered: sereno alerts outbox. "
        if notified_counts:
            return f"Notifications: {notified_counts}. "
        return ""

    def _finished(self) -> str:
        from daemon.cli.output import counted
        from domain.units import format_seconds

        finished = sum(run["state"] == "finished" for run in self.runs)
        runs = counted(len(self.runs), "run")
        return f"{finished} of {runs} finished in {format_seconds(self._seconds)}."


def _job_row(job: str, runs: "Sequence[Row]") -> tuple[str, ...]:
    from domain.units import format_seconds

    seconds = sum(step["seconds"] for run in runs for step in run["steps"])
    return job, _work(runs), format_seconds(seconds), ", ".join(map(_place, runs))


def _place(run: "Row") -> str:
    return str(run["database"] or run["scope"])


def _work(runs: "Sequence[Row]") -> str:
    """Return the finished steps of a job in words: `9 tables, 25,000 rows`."""
    from daemon.cli.output import counted

    steps = [step for run in runs for step in run["steps"]]
    counts: Counter[str] = Counter()
    objects: dict[str, str] = {}
    rows = 0
    for step in steps:
        if step["status"] == "done":
            counts[step["name"]] += 1
            objects[step["name"]] = step["object"]
            if step["name"] not in {"check", "measure"}:
                rows += step["rows"]
    parts = []
    for name, count in counts.items():
        noun = _NOUNS.get(name, f"{name} step")
        alone = count == 1 and noun in {"table", "index"}
        parts.append(objects[name] if alone else counted(count, noun, _PLURALS.get(noun, "")))
    if rows:
        parts.append(f"{rows:,} rows")
    return ", ".join(parts) or "nothing done"
