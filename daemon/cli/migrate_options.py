"""The options that the commands of `sereno migrate` share, and the context that they open."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from daemon.cli.options import fail, open_context
from daemon.exit_codes import Exit

if TYPE_CHECKING:
    from daemon.config.web import Right
    from daemon.context import Context
    from migrations.format import Phase
    from migrations.steps.migration_step import MigrationError

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="A folder, like 0001_tenants.")]
UntilOption = Annotated[
    str | None,
    typer.Option(
        "--until",
        help="The last phase: prepare, data, tighten, cleanup or purge.",
        show_default=False,
    ),
]
TOKEN = "SERENO_TOKEN"  # noqa: S105 - the name of a variable
DatabasesOption = Annotated[
    str | None,
    typer.Option(
        "--database", help="One, or several with commas: in this order.", show_default=False
    ),
]
AllOption = Annotated[
    bool, typer.Option("--all", help="Every database with a migrate login, one after the other.")
]
AsOption = Annotated[
    str,
    typer.Option(
        "--as", metavar="NAME", help=f"Your principal; its token comes from {TOKEN} or you."
    ),
]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why, for the ledger.")]


def parse_phase(text: str, option: str = "--until") -> "Phase":
    """Parse the name of a phase; exit if there is none."""
    from daemon.cli.options import unknown_name
    from migrations.format import Phase

    try:
        return Phase(text)
    except ValueError:
        fail(f"{option}: {unknown_name('phase', text, list(Phase))}", Exit.CANNOT)


def principal_of(context: "Context", name: str, right: "Right") -> str:
    """Return a principal that has a right and whose token was given; exit otherwise.

    `local` needs neither: whoever runs this command may read the configuration's secrets.
    """
    from daemon.cli.options import unknown_name
    from daemon.principals import has_right, principal_of_token
    from migrations.gates import LOCAL

    web = context.config.web
    if name == LOCAL:
        return name
    if name not in web.principals:
        hint = f"; sereno web token {name} makes a token for [web.principals.{name}]"
        fail(f"--as: {unknown_name('principal', name, web.principals)}{hint}", Exit.CANNOT)
    if not has_right(web, name, right):
        fail(
            f'--as: {name} may not {right}; add "{right}" to web.principals.{name}.may', Exit.CANNOT
        )
    token = os.environ.get(TOKEN) or ""
    if not token and sys.stdin.isatty():
        token = typer.prompt(f"token of {name}", hide_input=True)
    if principal_of_token(web, token) != name:
        wrong = "is not its token" if token else f"is missing: set {TOKEN}, or ask on a terminal"
        fail(f"--as {name}: the token {wrong}", Exit.CANNOT)
    return name


@contextmanager
def opened(config: Path | None) -> "Iterator[Context]":
    """Open the context; a migration that cannot be used ends the command with its mistakes."""
    from migrations.read_folder import FormatError
    from migrations.rehearsal.result import RehearsalError
    from migrations.statements import GrammarError
    from migrations.steps.migration_step import MigrationError

    with open_context(config) as context:
        try:
            yield context
        except MigrationError as error:
            refuse(error)
        except (FormatError, GrammarError, RehearsalError) as error:
            fail(str(error), Exit.CANNOT)


def database_of(context: "Context", wanted: str | None) -> str:
    """Return the database to work in: the wanted one, or the only one with a migrate login."""
    from daemon.cli.options import unknown_name
    from daemon.migrating.requests import migrating_databases

    if wanted is not None:
        if wanted not in context.config.databases:
            fail(unknown_name("database", wanted, context.config.databases), Exit.CANNOT)
        return wanted
    found = migrating_databases(context)
    if len(found) == 1:
        return found[0]
    if found:
        fail(f"name one with --database: {', '.join(found)}", Exit.CANNOT)
    return fail(
        "no database has a login for migrations; add to one of them:\n"
        '  migrate = { user = "sereno_migrate", role = "the owner of the tables" }',
        Exit.CONFIG,
    )


def databases_of(context: "Context", wanted: str | None, *, all_of_them: bool) -> list[str]:
    """Return the databases to work in, in their order: a list with commas, all, or the only one."""
    from daemon.migrating.requests import migrating_databases

    if all_of_them and wanted is not None:
        fail("give --all or --database, not both", Exit.CANNOT)
    if all_of_them:
        return migrating_databases(context) or [database_of(context, None)]
    if wanted is None or "," not in wanted:
        return [database_of(context, wanted)]
    names = [database_of(context, one.strip()) for one in wanted.split(",")]
    if len(set(names)) < len(names):
        fail(f"--database: {wanted} names a database twice", Exit.CANNOT)
    return names


def refuse(error: "MigrationError") -> NoReturn:
    """Print why a migration is refused, and exit."""
    from domain.cause import Cause

    fail(str(error), Exit.GATE if error.cause is Cause.GATE_CLOSED else Exit.CANNOT)
