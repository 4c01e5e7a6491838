"""The options that the commands of `sereno migrate` share, and the context that they open."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from daemon.cli.options import fail, open_context
from daemon.exit_codes import Exit

if TYPE_CHECKING:
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
AsOption = Annotated[str, typer.Option("--as", metavar="NAME", help="Who asks.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why, for the ledger.")]


def parse_phase(text: str) -> "Phase":
    """Parse the name of a phase; exit if there is none."""
    from daemon.cli.options import unknown_name
    from migrations.format import Phase

    try:
        return Phase(text)
    except ValueError:
        fail(f"--until: {unknown_name('phase', text, list(Phase))}", Exit.CANNOT)


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


def refuse(error: "MigrationError") -> NoReturn:
    """Print why a migration is refused, and exit."""
    from domain.cause import Cause

    fail(str(error), Exit.GATE if error.cause is Cause.GATE_CLOSED else Exit.CANNOT)
