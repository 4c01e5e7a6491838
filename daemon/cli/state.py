"""`sereno state copy`: moves the state from its file into a database."""

from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.command_group import CommandGroup
from daemon.cli.options import (
    ConfigOption,
    JsonOption,
    closed_output_ends_well,
    fail,
    load_configuration,
    plain_error,
    print_json,
)
from daemon.exit_codes import Exit

app = typer.Typer(
    cls=CommandGroup,
    help="Move the state from a file into a database.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def _state() -> None:
    """Make a group of the commands."""


@app.command()
def copy(
    to: Annotated[
        str, typer.Option("--to", metavar="URL", help="The database, as in daemon.state.")
    ],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy the state file into a database, and verify each table.

    The service has to be stopped. The file stays as it is. After an interruption the same command
    goes on where it was.
    """
    from daemon.config.daemon import parse_state
    from store.opening import STATE_URLS

    place = load_configuration(config).daemon
    if not isinstance(place.state, Path):
        fail("daemon.state is a database already; it is copied from a file", Exit.CANNOT)
    if not to.startswith(STATE_URLS):
        fail(f"--to: {to!r} is not like postgresql://HOST/NAME", Exit.CANNOT)
    try:
        parse_state(to)
    except ValueError as error:
        fail(f"--to: {error}", Exit.CANNOT)
    if not place.state.exists():
        fail(f"{place.state}: there is no state file", Exit.CANNOT)
    with closed_output_ends_well():
        counts = _copied(place.state, to, place.local_folder)
        if as_json:
            print_json({"from": str(place.state), "to": to, "rows": counts})
            return
        for table, rows in counts.items():
            if rows:
                typer.echo(f"{rows:>12,}  {table}")
        typer.echo(f'Every table is copied and verified. Now set daemon.state = "{to}"')


def _copied(path: Path, url: str, folder: Path) -> dict[str, int]:
    """Copy with a line of progress; return the rows by table."""
    import psycopg
    from rich.console import Console

    from store.copying import copy_state
    from store.file_lock import LockHeldError
    from store.state_database import open_database
    from store.state_file import open_file
    from store.store import StoreError

    try:
        source, target = open_file(path), open_database(url, folder, unfinished=True)
        status = Console(stderr=True).status("copying")
        with source.owned(), target.owned(), status as shown:
            return copy_state(
                source, target, lambda table, rows: shown.update(f"{table}: {rows:,} rows")
            )
    except LockHeldError as error:
        fail(f"stop the service first: {error}", Exit.BUSY)
    except (StoreError, psycopg.IntegrityError, OSError) as error:
        fail(plain_error(error), Exit.CANNOT)
