"""What the acting commands share: a night at a terminal, and the delivery of what it owes."""

import signal
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from types import FrameType
from zoneinfo import ZoneInfo

from rich.console import Console

from daemon.cli.options import fail
from daemon.console import Bars
from daemon.context import Context
from daemon.exit_codes import Exit
from daemon.runs.runner import FinishedRun, Runner
from daemon.scheduling.tasks import tasks_of
from domain.finding import Severity
from domain.task import Task
from domain.units import parse_duration
from execution.progress import NoProgress
from execution.window import Window, open_window
from store.file_lock import LockHeldError, exclusive_lock

PATIENCE_SECONDS = 3.0
"""A person is told soon that another sereno is at work."""


def job_names(context: Context, words: Sequence[str]) -> list[str]:
    """Turn jobs and schedules into jobs, each once, in the order given."""
    found: dict[str, None] = {}
    for word in words:
        if word in context.jobs:
            found[word] = None
        elif word in context.config.timetable:
            found.update(dict.fromkeys(context.config.timetable[word].jobs))
        else:
            known = [*context.jobs, *context.config.schedules]
            fail(f"{word!r} is neither a job nor a schedule ({', '.join(known)})", Exit.CANNOT)
    return list(found)


def run_jobs(
    context: Context,
    jobs: Sequence[str],
    window: Window,
    database: str | None,
    console: Console | None,
) -> list[FinishedRun]:
    """Run the jobs, drawing bars on the console if there is one.

    Ctrl-C and SIGTERM stop as the service would.
    """
    bars = Bars(console) if console is not None else None
    runner = Runner(context, bars or NoProgress(), PATIENCE_SECONDS)
    planned = tasks_of(context, jobs, only=database)

    def halt(_number: int, _frame: FrameType | None) -> None:
        runner.cancel_in_background()

    before = {number: signal.signal(number, halt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        if bars is None:
            return _all(runner, planned, window, None)
        with bars:
            return _all(runner, planned, window, bars)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _all(
    runner: Runner, planned: Iterator[Task], window: Window, bars: Bars | None
) -> list[FinishedRun]:
    done: list[FinishedRun] = []
    for task in planned:
        if runner.stop.is_set():
            return done
        if bars:
            bars.run(task.job, task.database)
        ran = runner.run(task, window)
        if bars:
            bars.finished(ran.state.value, ran.reason)
        done.append(ran)
    return done


def deliver_pending(context: Context, seconds: float) -> int | None:
    """Try once to send what is due; return how many messages still wait.

    None: a service runs, and it is its work.
    """
    try:
        with exclusive_lock(context.store.service_lock):
            return context.courier().drain(seconds)
    except LockHeldError:
        return None


def parse_window(text: str | None) -> Window:
    """Read `--window`; without it the window never closes."""
    if text is None:
        return open_window(None)
    try:
        return open_window(parse_duration(text).total_seconds())
    except ValueError as error:
        fail(f"--window: {error}", Exit.CANNOT)


def parse_severity(text: str, option: str = "--fail-on") -> Severity:
    """Read `--fail-on`, or what is one of the severities as well."""
    try:
        return Severity(text)
    except ValueError:
        fail(f"{option}: {text!r} is not one of {', '.join(Severity)}", Exit.CANNOT)


def parse_instant(text: str, zone: str, now: datetime) -> datetime:
    """Read `--until` in the zone of the configuration: a time of day is the next one."""
    local = ZoneInfo(zone)
    try:
        if "T" in text or " " in text:
            read = datetime.fromisoformat(text)
            found = read if read.tzinfo else read.replace(tzinfo=local)
        else:
            clock = datetime.strptime(text, "%H:%M").replace(tzinfo=UTC).time()
            today = now.astimezone(local)
            found = datetime.combine(today.date(), clock, local)
            found = found if found > now else found + timedelta(days=1)
        found = found.astimezone(UTC)
    except (ValueError, OverflowError):
        fail(f"--until: {text!r} is not a time (like 06:30 or 2026-03-01T06:30)", Exit.CANNOT)
    if found <= now:
        fail(f"--until: {text!r} is past", Exit.CANNOT)
    return found
