"""Commands that do something: now, check, pause, resume."""

from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from daemon.cli.options import (
    ConfigOption,
    DatabaseOption,
    JsonOption,
    fail,
    open_context,
    print_answer,
)
from daemon.exit_codes import Exit

if TYPE_CHECKING:
    from daemon.runs.runner import FinishedRun

DRAIN_SECONDS = 20.0


def now(
    jobs: Annotated[list[str], typer.Argument(help="Jobs, or the names of schedules (daily).")],
    config: ConfigOption = None,
    database: DatabaseOption = None,
    window: Annotated[
        str | None, typer.Option("--window", help='Stop in time, like "30m".', show_default=False)
    ] = None,
    fail_on: Annotated[
        str, typer.Option("--fail-on", help="Exit 1 from this severity on.")
    ] = "high",
    as_json: JsonOption = False,
) -> None:
    """Run jobs now, with a progress bar; what goes wrong is told as it would be at night."""
    with open_context(config, database) as context:
        from rich.console import Console

        from daemon.cli.now_session import (
            deliver_pending,
            job_names,
            parse_severity,
            parse_window,
            run_jobs,
        )
        from daemon.cli.render import show_night

        limit = parse_severity(fail_on)
        chosen = job_names(context, jobs)
        console = Console(stderr=True)
        ran = run_jobs(
            context, chosen, parse_window(window), database, None if as_json else console
        )
        with console.status("telling"):
            waiting = deliver_pending(context, DRAIN_SECONDS)
        worst = show_night(context, ran, as_json=as_json)
        if waiting and not as_json:
            console.print(f"messages that wait for their channel: {waiting} (sereno alerts outbox)")
        raise typer.Exit(_code(ran, worst is not None and worst >= limit))


def check(
    checks: Annotated[
        list[str] | None,
        typer.Argument(help="Checks; all of them where none is named.", show_default=False),
    ] = None,
    config: ConfigOption = None,
    database: DatabaseOption = None,
    fail_on: Annotated[
        str, typer.Option("--fail-on", help="Exit 1 from this severity on.")
    ] = "high",
    as_json: JsonOption = False,
) -> None:
    """Look, and nothing else: every session is read-only, nothing is told or remembered."""
    with open_context(config, database) as context:
        from daemon.cli.now_session import parse_severity
        from daemon.cli.read_only_checks import run_checks_now
        from daemon.cli.render import show_findings

        limit = parse_severity(fail_on)
        unknown = [name for name in checks or () if name not in context.checks]
        if unknown:
            fail(
                f"there is no check {unknown[0]!r} ({', '.join(sorted(context.checks))})",
                Exit.CANNOT,
            )
        everything = sorted(
            context.checks.keys() - set(context.config.job("integrity_check").exclude)
        )
        looked = run_checks_now(context, checks or everything, database)
        show_findings(looked, as_json=as_json)
        if looked.failed:
            raise typer.Exit(Exit.CANNOT)
        worst = max((finding.severity for finding in looked.findings), default=None)
        raise typer.Exit(Exit.FOUND if worst is not None and worst >= limit else Exit.FINE)


def pause(
    until: Annotated[
        str | None,
        typer.Option(
            "--until",
            help="A time of today or tomorrow (06:30), or 2026-03-01T06:30.",
            show_default=False,
        ),
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why; shown by status.")] = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hold everything back: a running job pauses between two pieces of its work."""
    with open_context(config) as context:
        from daemon.cli.now_session import parse_instant
        from daemon.history import pause as hold

        end = (
            parse_instant(until, context.config.daemon.timezone, context.clock()) if until else None
        )
        with context.store.transaction() as transaction:
            hold.pause(transaction, end, reason, context.clock())
        zone = ZoneInfo(context.config.daemon.timezone)
        told = f"{end.astimezone(zone):%Y-%m-%d %H:%M %Z}" if end else "until: sereno resume"
        print_answer(
            f"paused {'until ' if end else ''}{told}",
            {"paused": True, "until": end},
            as_json=as_json,
        )


def resume(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Let everything go on."""
    with open_context(config) as context:
        from daemon.history import pause as hold

        with context.store.transaction() as transaction:
            was = hold.resume(transaction)
        print_answer(
            "goes on" if was else "was not paused",
            {"paused": False, "was_paused": was},
            as_json=as_json,
        )


def _code(ran: "list[FinishedRun]", found: bool) -> Exit:
    from daemon.runs.result import RunState

    states = {one.state for one in ran}
    if any(one.state is RunState.SKIPPED and one.reason.startswith("busy") for one in ran):
        return Exit.BUSY
    if RunState.FAILED in states or found:
        return Exit.FOUND
    if states & {RunState.WINDOW_ENDED, RunState.THROTTLED, RunState.INTERRUPTED}:
        return Exit.WINDOW
    return Exit.FINE
