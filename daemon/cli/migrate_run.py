"""The run of a migration on the command line, and how its end is told."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NoReturn

import typer

from daemon.cli.options import fail
from daemon.exit_codes import Exit

if TYPE_CHECKING:
    from daemon.context import Context
    from daemon.migrating.requests import Wish
    from daemon.runs.runner import FinishedRun
    from migrations.migrate import MigrationRequest

PATIENCE_SECONDS = 20.0
"""The sessions of a run that was killed have gone by then."""


def run_request(
    context: "Context", database: str, request: "MigrationRequest", *, as_json: bool
) -> "FinishedRun":
    """Run a request, with a progress bar on a terminal."""
    from daemon.cli.now import deliver, run_tasks
    from daemon.migrating.requests import migration_task
    from execution.window import open_window

    task = migration_task(database, request)
    ran = run_tasks(context, [task], open_window(None), PATIENCE_SECONDS, as_json=as_json)
    deliver(context, as_json=as_json)
    return ran[0]


def print_end(
    context: "Context", database: str, migration: str, ran: "FinishedRun", *, as_json: bool
) -> None:
    """Print the steps of a run, the state of the migration, and the next command."""
    from daemon.cli.history import print_steps
    from daemon.cli.migrate_status import print_status
    from daemon.cli.options import print_json
    from daemon.cli.output import line, prose
    from daemon.history import history
    from daemon.migrating.views import list_migrations, rows_of

    with context.store.reading() as transaction:
        run = history.load_run(transaction, ran.number)
        steps = history.load_steps(transaction, ran.number)
    listed = list_migrations(context, database, migration)
    if as_json:
        print_json({"run": run, "steps": steps, "migration": rows_of(listed)[0]})
        return
    print_steps(steps)
    line(f"run {ran.number}: {ran.state.value}")
    if ran.reason:
        prose(ran.reason, indent=2)
    print_status(context, listed)


def run_and_exit(
    context: "Context", database: str, wish: "Wish", *, as_json: bool = False
) -> NoReturn:
    """Run a wish with a progress bar, print its end, and exit with its code."""
    raise typer.Exit(run_wish(context, database, wish, as_json=as_json))


def run_all_and_exit(
    context: "Context",
    wishes: "Iterator[tuple[str, Wish]]",
    of: tuple[str, Sequence[str]],
    *,
    as_json: bool,
) -> NoReturn:
    """Run a wish in each database; the first that does not finish ends them."""
    from migrations.steps.migration_step import MigrationError

    migration, names = of
    at = names[0]
    try:
        for at, wish in wishes:
            code = run_wish(context, at, wish, as_json=as_json)
            if code != Exit.FINE:
                _say_rest(at, migration, names)
                raise typer.Exit(code)
    except MigrationError:
        _say_rest(at, migration, names)
        raise
    raise typer.Exit(Exit.FINE)


def _say_rest(at: str, migration: str, names: Sequence[str]) -> None:
    """Say on standard error which databases were not begun, and how to go on."""
    rest = names[names.index(at) + 1 :]
    if rest:
        typer.echo(f"stopped in {at}; not begun: {', '.join(rest)}", err=True)
    if len(names) > 1:
        typer.echo(
            f"goes on: sereno migrate resume {migration} --database {','.join(names)}", err=True
        )


def run_wish(context: "Context", database: str, wish: "Wish", *, as_json: bool) -> Exit:
    """Run a wish with a progress bar, print its end, and return its exit code."""
    from daemon.migrating.requests import preview
    from daemon.migrating.state_copy import copy_if_possible
    from daemon.migrating.views import run_at_work

    if row := run_at_work(context, database):
        fail(
            f"run {row['id']} of {row['subject']} by {row['principal']} is at work in {database}: "
            f"sereno migrate progress {row['subject']}, or pause it",
            Exit.BUSY,
        )
    shown = preview(context, database, wish)  # refuses before a run is recorded
    ran = run_request(context, database, shown.request, as_json=as_json)
    copy_if_possible(context, database)
    print_end(context, database, wish.migration, ran, as_json=as_json)
    return exit_code(ran)


def exit_code(ran: "FinishedRun") -> Exit:
    """Return the exit code of a run."""
    from daemon.cli.now import exit_code as of_runs
    from domain.cause import Cause

    by_cause = {
        Cause.GATE_CLOSED: Exit.GATE,
        Cause.LOCK_BUDGET: Exit.LOCKS,
        Cause.BUSY: Exit.BUSY,
    }
    if ran.cause in by_cause:
        return by_cause[ran.cause]
    return of_runs([ran], found=False)
