"""Commands that only look: plan, status, history."""

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daemon.cli.options import (
    LARGEST,
    ConfigOption,
    DatabaseOption,
    JsonOption,
    fail,
    open_context,
    print_json,
)
from daemon.exit_codes import Exit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

UPCOMING = 10
_FATES = {"yes": "", "no": "left for another night", "tried": "a guess, is tried"}


def plan(
    jobs: Annotated[
        list[str] | None,
        typer.Argument(help="Jobs or schedules; all jobs where none is named.", show_default=False),
    ] = None,
    config: ConfigOption = None,
    database: DatabaseOption = None,
    window: Annotated[
        str | None,
        typer.Option(
            "--window", help='Show what such a window would leave, like "30m".', show_default=False
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what would run now, in which order, why, with which lock and SQL. Changes nothing."""
    with open_context(config, database) as context:
        from daemon.cli.now_session import job_names, parse_window
        from daemon.cli.plan_data import plan_entries

        entries, problems = plan_entries(
            context,
            job_names(context, jobs or list(context.jobs)),
            database,
            parse_window(window).length,
        )
        if as_json:
            print_json({"steps": entries, "problems": problems})
        else:
            _show_plan(entries, problems, window)
        raise typer.Exit(Exit.CANNOT if problems else Exit.FINE)


def _show_plan(
    entries: "Sequence[Mapping[str, str]]", problems: "Sequence[str]", window: str | None
) -> None:
    from rich.console import Console
    from rich.text import Text

    from daemon.console import print_table

    rows = [
        (
            e["job"],
            e["database"] or f"({e['scope']})",
            e["step"],
            e["object"],
            e["why"],
            e["lock"],
            _when(e),
        )
        for e in entries
    ]
    print_table("Plan", ("job", "database", "step", "object", "why", "lock", "seconds"), rows)
    console = Console()
    for entry in entries:
        if entry["step"] != "check":
            end = "" if entry["sql"].startswith("--") else ";"
            console.print(Text(f"{entry['sql']}{end}"), soft_wrap=True)
    if window:
        fates = Counter(entry["in_window"] for entry in entries)
        tried = (
            f"{fates['tried']} tried, for nobody knows yet how long they take; "
            if fates["tried"]
            else ""
        )
        console.print(
            f"In {window}: {fates['yes']} of {len(entries)} steps; {tried}{fates['no']} for another night"
        )
    for problem in problems:
        Console(stderr=True).print(Text(problem, style="bold red"))


def _when(entry: "Mapping[str, str]") -> str:
    return f"{entry['seconds']} {_FATES[entry['in_window']]}".strip()


def status(
    upcoming: Annotated[
        bool, typer.Option("--next", help="Only the next ten due times of each schedule.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what runs, what is next, what is open and what is not yet delivered.

    Exit 1 if no channel delivers.
    """
    with open_context(config) as context:
        from daemon.cli.status_data import next_due_times, status_data
        from daemon.console import print_table

        if upcoming:
            dues = list(next_due_times(context, UPCOMING))
            if as_json:
                print_json(dues)
            else:
                columns = ("schedule", "nominal", "local time", "UTC", "jobs")
                print_table("Next", columns, [tuple(one.values()) for one in dues])
            return
        state = status_data(context)
        lost = bool(context.channels) and len(state["dumb"]) == len(context.channels)
        if as_json:
            print_json(state)
            raise typer.Exit(Exit.FOUND if lost else Exit.FINE)
        _show(state, lost=lost)
        raise typer.Exit(Exit.FOUND if lost else Exit.FINE)


def _show(state: "Mapping[str, Any]", *, lost: bool) -> None:
    from daemon.console import print_table

    typer.echo(
        f"{state['instance']}: service {'running' if state['service'] else 'not running'}"
        + (f", paused {state['paused']}" if state["paused"] else "")
    )
    columns = ("schedule", "nominal", "local time", "UTC", "jobs")
    print_table("Next", columns, [tuple(one.values()) for one in state["next"]])
    print_table(
        "Last runs",
        ("run", "job", "database", "state", "started (UTC)", "reason"),
        [tuple(one.values()) for one in state["runs"]],
    )
    print_table(
        "Open alerts",
        ("alert", "severity", "state", "what", "since"),
        [tuple(one.values()) for one in state["alerts"]],
    )
    if state["outbox"]:
        typer.echo(f"{state['outbox']} messages not yet delivered (sereno alerts outbox)")
    if state["dumb"]:
        typer.echo(
            f"{'No channel delivers' if lost else 'Not delivering'}: {', '.join(state['dumb'])}",
            err=True,
        )


def history(
    run: Annotated[
        int | None,
        typer.Argument(
            min=1, max=LARGEST, help="One run, with its steps and findings.", show_default=False
        ),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=LARGEST, help="How many runs.")] = 20,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what ran and how it ended."""
    with open_context(config) as context:
        from daemon.cli.render import show_run, show_runs
        from daemon.history import history as book

        with context.store.reading() as transaction:
            if run is None:
                show_runs(book.load_runs(transaction, limit), as_json=as_json)
                return
            found = book.load_run(transaction, run)
            if found is None:
                fail(f"there is no run {run}", Exit.CANNOT)
            steps, findings = (
                book.load_steps(transaction, run),
                book.load_findings(transaction, run),
            )
        if as_json:
            print_json({**found, "steps": steps, "findings": findings})
        else:
            show_run(found, steps, findings)
