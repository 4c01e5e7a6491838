"""`sereno install`: creates the schema sereno and the logins, or prints the SQL."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.options import ConfigOption, JsonOption, fail, open_context, print_json
from daemon.exit_codes import Exit

if TYPE_CHECKING:
    from postgres.session import Target


AdminOption = Annotated[
    str | None,
    typer.Option(
        "--admin",
        metavar="DSN",
        help="Connect with this DSN, as a role that may create roles and a schema.",
        show_default=False,
    ),
]
GroupOption = Annotated[
    str | None,
    typer.Option(
        "--discover", metavar="GROUP", help="All databases of a group.", show_default=False
    ),
]


def install(
    database: Annotated[
        str | None,
        typer.Argument(metavar="[DATABASE]", help="A configured database.", show_default=False),
    ] = None,
    group: GroupOption = None,
    admin: AdminOption = None,
    print_only: Annotated[
        bool, typer.Option("--print", help="Print the SQL for a DBA to read; change nothing.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create the schema sereno and the configured logins. May be run again."""
    from daemon.cli.install_database import install_database, note
    from daemon.config.groups import groups_of

    if (database is None) == (group is None):
        fail("give a DATABASE, or --discover GROUP", Exit.CANNOT)
    with open_context(config, database or group, looks=True) as context:
        if database is None or database in groups_of(context.written):
            from daemon.cli.install_group import install_group

            chosen = str(group or database)
            install_group(context, chosen, admin, print_only=print_only, as_json=as_json)
            return
        done = install_database(context, database, admin, print_only=print_only)
        if as_json:
            notes = {"notes": done.shortcomings, "refused": done.refused}
            print_json(
                {"database": database, "done": not print_only, "statements": done.statements}
                | notes
            )
            raise typer.Exit(Exit.FOUND if done.refused else Exit.FINE)
        typer.echo("".join(f"{note(one)}\n" for one in done.shortcomings), err=True, nl=False)
        if print_only:
            typer.echo("\n".join(done.statements))
        else:
            _show_installed(done.target, done.refused)


def _show_installed(target: "Target", refused: Mapping[str, str]) -> None:
    """Print the logins; exit with 1 if the server refuses one of them."""
    users = sorted(one.user for one in target.logins.values())
    typer.echo(f"{target.name}: schema sereno and the logins {', '.join(users)} are ready")
    if refused:
        listed = "\n".join(f"  {user}: {reason}" for user, reason in refused.items())
        fail(f"{target.name}: the server does not let these logins in yet:\n{listed}", Exit.FOUND)
    typer.echo("next: sereno plan")
