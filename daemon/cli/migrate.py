"""`sereno migrate`: migrations planned, rehearsed, applied, watched and rolled back."""

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.command_group import CommandGroup
from daemon.cli.migrate_options import (
    AllOption,
    AsOption,
    DatabasesOption,
    IdArgument,
    ReasonOption,
    UntilOption,
    database_of,
    databases_of,
    opened,
    parse_phase,
    principal_of,
)
from daemon.cli.migrate_run import run_all_and_exit, run_and_exit
from daemon.cli.options import ConfigOption, DatabaseOption, JsonOption, fail, print_json
from daemon.exit_codes import Exit

if TYPE_CHECKING:
    from daemon.context import Context
    from daemon.migrating.requests import Wish
    from migrations.migrate import Action

app = typer.Typer(
    cls=CommandGroup,
    help="Guarded migrations: rehearsed, applied in phases, rolled back.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
PlanOption = Annotated[
    str | None,
    typer.Option("--plan", metavar="HASH", help="The plan that was reviewed.", show_default=False),
]
YesOption = Annotated[bool, typer.Option("--yes", help="Accept the plan as it is now.")]


@app.command("new")
def new(
    migration: IdArgument,
    title: Annotated[str, typer.Option("--title", help="What it does, in one line.")] = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the folder of a new migration, with the least files to fill in."""
    with opened(config) as context:
        from daemon.migrating.gate_facts import migration_folder
        from daemon.migrating.new_folder import create_folder

        try:
            made = create_folder(migration_folder(context), migration, title or migration)
        except (ValueError, OSError) as error:
            fail(str(error), Exit.CANNOT)
        if as_json:
            print_json({"folder": str(made)})
            return
        typer.echo(f"{made}: made; fill in its files, then: sereno migrate rehearse {migration}")


@app.command("plan")
def plan(
    migration: IdArgument,
    until: UntilOption = None,
    rollback: Annotated[bool, typer.Option("--rollback", help="Of a rollback.")] = False,
    sql: Annotated[bool, typer.Option("--sql", help="Print the statements.")] = False,
    database: DatabaseOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what apply would do now: steps, locks, table sizes, and the hash of the plan."""
    with opened(config) as context:
        from daemon.cli.migrate_plan import print_plan
        from daemon.migrating.plan_values import plan_values
        from daemon.migrating.requests import preview

        name = database_of(context, database)
        wish = replace(
            _wish(migration, "rollback" if rollback else "apply", until), shows_only=True
        )
        shown = preview(context, name, wish)
        if as_json:
            print_json(plan_values(shown))
        else:
            print_plan(context, name, shown, sql=sql)


@app.command("apply")
def apply(
    migration: IdArgument,
    reviewed: PlanOption = None,
    yes: YesOption = False,
    until: UntilOption = None,
    principal: AsOption = "local",
    reason: ReasonOption = "",
    database: DatabasesOption = None,
    all_of_them: AllOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Apply a migration up to its next gate, or up to a phase.

    Exits with 1 if it failed, with 4 if a gate is closed, with 5 if the time for locks was spent,
    with 3 if it was stopped, with 75 if another run is at work.
    """
    with opened(config) as context:
        names = databases_of(context, database, all_of_them=all_of_them)
        if reviewed and len(names) > 1:
            fail("--plan is of one database; review them one by one, or give --yes", Exit.CANNOT)
        who = principal_of(context, principal, "execute")
        wish = _wish(migration, "apply", until, who, reason)
        wishes = ((one, _reviewed(context, one, wish, reviewed, yes)) for one in names)
        run_all_and_exit(context, wishes, (migration, names), as_json=as_json)


@app.command("resume")
def resume(
    migration: IdArgument,
    principal: AsOption = "local",
    reason: ReasonOption = "",
    database: DatabasesOption = None,
    all_of_them: AllOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Go on where a paused, failed or killed run stopped; nothing that is done is done again.

    Of several databases, those that are not begun are applied too.
    """
    with opened(config) as context:
        from daemon.migrating.several import asked_until, wish_to_go_on
        from daemon.migrating.views import require_begun

        names = databases_of(context, database, all_of_them=all_of_them)
        who = principal_of(context, principal, "execute")
        if len(names) == 1:
            begun = require_begun(context, names[0], migration)
            run_and_exit(
                context, names[0], _wish(migration, "apply", begun, who, reason), as_json=as_json
            )
        until = asked_until(context, names[0], migration)
        found = ((one, wish_to_go_on(context, one, migration, until)) for one in names)
        wishes = ((one, replace(wish, principal=who, reason=reason)) for one, wish in found if wish)
        run_all_and_exit(context, wishes, (migration, names), as_json=as_json)


@app.command("rollback")
def rollback(
    migration: IdArgument,
    reviewed: PlanOption = None,
    yes: YesOption = False,
    until: Annotated[
        str | None,
        typer.Option("--until", help="The first phase to undo; default all.", show_default=False),
    ] = None,
    accept: Annotated[
        bool, typer.Option("--accept", help="Accept that the catalog differs from before.")
    ] = False,
    principal: AsOption = "local",
    reason: ReasonOption = "",
    database: DatabaseOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Undo phases, the last one first, with the files that the ledger kept; verify each."""
    with opened(config) as context:
        name = database_of(context, database)
        who = principal_of(context, principal, "rollback")
        wish = replace(_wish(migration, "rollback", until, who, reason), accepts=accept)
        run_and_exit(context, name, _reviewed(context, name, wish, reviewed, yes), as_json=as_json)


@app.command("pause")
def pause(
    migration: IdArgument,
    principal: AsOption = "local",
    database: DatabaseOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stop a running migration: its statement is cancelled; `resume` goes on."""
    with opened(config) as context:
        from daemon.migrating.views import stop_run

        who = principal_of(context, principal, "operate")
        number = stop_run(context, database_of(context, database), migration, who)
        if number is None:
            fail(f"no run of {migration} is at work", Exit.CANNOT)
        if as_json:
            print_json({"run": number})
            return
        typer.echo(f"run {number} stops; then: sereno migrate resume {migration}")


@app.command("cancel")
def cancel(
    migration: IdArgument,
    principal: AsOption = "local",
    database: DatabaseOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stop a running migration, wait for its end, and undo the phase that is not complete."""
    with opened(config) as context:
        from daemon.migrating.views import stop_run, unfinished_phase, wait_for_end

        name = database_of(context, database)
        who = principal_of(context, principal, "operate")
        number = stop_run(context, name, migration, who)
        if number is not None:
            wait_for_end(context, number)
        phase = unfinished_phase(context, name, migration)
        if phase is None:
            if as_json:
                print_json({"run": number, "undone": None})
                return
            typer.echo(f"{migration}: no phase is half done, so nothing is undone")
            return
        wish = _wish(migration, "rollback", phase.value, who, "cancelled")
        run_and_exit(context, name, wish, as_json=as_json)


def _wish(
    migration: str,
    action: "Action",
    until: str | None,
    principal: str = "local",
    reason: str = "",
) -> "Wish":
    from daemon.migrating.requests import Wish

    phase = parse_phase(until) if until else None
    return Wish(migration, action, phase, "", principal, reason)


def _reviewed(
    context: "Context", database: str, wish: "Wish", reviewed: str | None, yes: bool
) -> "Wish":
    """Return the wish with the plan that a person accepts; ask on a terminal."""
    from daemon.cli.migrate_plan import print_plan
    from daemon.migrating.requests import preview

    if reviewed or yes:
        return replace(wish, reviewed=reviewed or "")
    shown = preview(context, database, replace(wish, shows_only=True))
    print_plan(context, database, shown, sql=False)
    if not sys.stdin.isatty():
        fail("accept the plan with --plan HASH, or with --yes", Exit.CANNOT)
    if not typer.confirm(f"{wish.action} this plan?"):
        raise typer.Exit(Exit.CANNOT)
    return replace(wish, reviewed=shown.hash)
