"""`sereno migrate lint` and `sereno migrate import`: advice, and migrations from elsewhere."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from daemon.cli.migrate_options import IdArgument, opened
from daemon.cli.options import ConfigOption, JsonOption, fail, print_json
from daemon.exit_codes import Exit


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("lint")(lint)
    app.command("import")(import_)


def lint(migration: IdArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Look for statements that lock, rewrite or lose: rules of our own, and those of squawk.

    Needs no database. Exits with 1 if there is advice.
    """
    with opened(config) as context:
        from daemon.cli.output import counted, line, prose
        from daemon.migrating.lint import LintError, lint_migration

        try:
            found, by_squawk = lint_migration(context, migration)
        except LintError as error:
            fail(str(error), Exit.CANNOT)
        if as_json:
            keys = ("file", "line", "rule", "sentence")
            print_json([{key: getattr(one, key) for key in keys} for one in found])
        else:
            for one in found:
                line(
                    f"{one.file}:{one.line}  {one.rule}" if one.line else f"{one.file}  {one.rule}"
                )
                prose(one.sentence, indent=4)
            line(f"{migration}: {counted(len(found), 'finding') if found else 'nothing found'}")
        if not by_squawk:
            typer.echo("squawk is not installed: pip install 'sereno[lint]'", err=True)
        raise typer.Exit(Exit.FOUND if found else Exit.FINE)


def import_(
    kind: Annotated[
        Literal["alembic", "prisma", "sqitch"], typer.Argument(help="alembic, prisma or sqitch.")
    ],
    source: Annotated[
        Path,
        typer.Argument(
            help="Alembic: the output of upgrade --sql, or - for standard input; Prisma: the "
            "folder migrations; Sqitch: the project."
        ),
    ],
    down: Annotated[
        Path | None,
        typer.Option("--down", help="Alembic: the output of downgrade --sql.", show_default=False),
    ] = None,
    name: Annotated[str, typer.Option("--name", help="Alembic: the name, like add_users.")] = "",
    config: ConfigOption = None,
) -> None:
    """Bring migrations of another tool into the folder, each as one of its own.

    What removes or renames something goes into cleanup, all else into prepare. Without a way back a
    migration is marked as irreversible.
    """
    with opened(config) as context:
        from daemon.migrating.import_folder import ImportFormatError, import_migrations

        try:
            made = import_migrations(context, kind, (source, down, name))
        except ImportFormatError as error:
            fail(str(error), Exit.CANNOT)
        for folder, notes in made:
            typer.echo(f"{folder}: made")
            for note in notes:
                typer.echo(f"  note: {note}")
        if made:
            first = made[0][0].name
            typer.echo(f"look at the files, then: sereno migrate lint {first}; rehearse {first}")
