"""`sereno install`: creates the schema sereno and the logins, or prints the SQL."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.options import (
    ConfigOption,
    JsonOption,
    fail,
    open_context,
    print_json,
    unknown_name,
)
from daemon.exit_codes import Exit

if TYPE_CHECKING:
    from daemon.context import Context
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
    from daemon.config.groups import groups_of
    from domain.place import SEPARATOR

    if (database is None) == (group is None):
        fail("give a DATABASE, or --discover GROUP", Exit.CANNOT)
    with open_context(config) as context:
        chosen = _known(context, database, group)
        if chosen.partition(SEPARATOR)[0] in groups_of(context.written):
            from daemon.cli.install_group import install_group

            install_group(context, chosen, admin, print_only=print_only, as_json=as_json)
        else:
            _install_one(context, chosen, admin, print_only=print_only, as_json=as_json)


def _install_one(
    context: "Context", database: str, admin: str | None, *, print_only: bool, as_json: bool
) -> None:
    """Install in a database with an entry of its own; exit with 1 if a login is refused."""
    from daemon.cli.install_database import install_database, note

    done = install_database(context, database, admin, print_only=print_only)
    if as_json:
        notes = {"notes": done.shortcomings, "refused": done.refused}
        print_json(
            {"database": database, "done": not print_only, "statements": done.statements} | notes
        )
        raise typer.Exit(Exit.FOUND if done.refused else Exit.FINE)
    typer.echo("".join(f"{note(one)}\n" for one in done.shortcomings), err=True, nl=False)
    if print_only:
        typer.echo("\n".join(done.statements))
    else:
        _show_installed(done.target, done.refused)


def _known(context: "Context", database: str | None, group: str | None) -> str:
    """Return the configured database, or the group; exit with 2 for another name."""
    from daemon.config.groups import groups_of

    groups, databases = groups_of(context.written), context.written.databases
    if group is not None and group not in groups:
        if group in databases:
            cure = f"sereno install {group}"
            fail(f"databases.{group} has no discover: it is one database: {cure}", Exit.CANNOT)
        fail(unknown_name("group", group, groups), Exit.CANNOT)
    if database is not None and not context.written.may_have(database):
        fail(unknown_name("database", database, databases), Exit.CANNOT)
    return str(group or database)


def _show_installed(target: "Target", refused: Mapping[str, str]) -> None:
    """Print the logins; exit with 1 if the server refuses one of them."""
    users = sorted(one.user for one in target.logins.values())
    typer.echo(f"{target.name}: schema sereno and the logins {', '.join(users)} are ready")
    if refused:
        listed = "\n".join(f"  {user}: {reason}" for user, reason in refused.items())
        fail(f"{target.name}: the server does not let these logins in yet:\n{listed}", Exit.FOUND)
    typer.echo("next: sereno plan")
