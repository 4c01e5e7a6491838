"""Options shared by the commands, and the ways in which a command ends."""

import difflib
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from daemon.exit_codes import Exit

if TYPE_CHECKING:
    from daemon.config.model import Config
    from daemon.context import AlertContext, Context

LARGEST = 2**62
"""The largest number of a run or an alert; SQLite's integers end at 2^63 - 1."""
MOST_KNOWN = 20
"""Known names that the error about an unknown one lists."""
DEFAULT_CONFIG = Path("/etc/sereno/config.toml")

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="Configuration file; default $SERENO_CONFIG, then /etc/sereno/config.toml.",
        show_default=False,
    ),
]
DatabaseOption = Annotated[
    str | None,
    typer.Option("--database", help="Only this database, or this group.", show_default=False),
]
TagOption = Annotated[
    list[str] | None,
    typer.Option("--tag", help="Only databases with this tag.", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
FailOnOption = Annotated[
    str,
    typer.Option(
        "--fail-on", help="Exit with 1 from this severity on: info, warning, high or critical."
    ),
]


def config_path(path: Path | None) -> Path:
    """Return the path of the configuration file."""
    return path or Path(os.environ.get("SERENO_CONFIG") or DEFAULT_CONFIG)


def load_configuration(path: Path | None, *, with_checks: bool = True) -> "Config":
    """Load the configuration; exit with 78 and all its mistakes if it is invalid."""
    from daemon.config.load import ConfigError, load_config
    from daemon.registry import JOB_NAMES

    try:
        return load_config(config_path(path), JOB_NAMES, with_checks=with_checks)
    except ConfigError as error:
        typer.echo(f"sereno: {error}", err=True)
        raise typer.Exit(Exit.CONFIG) from None


@contextmanager
def open_context(
    path: Path | None,
    database: str | None = None,
    tags: Collection[str] | None = (),
    *,
    looks: bool = False,
) -> Iterator["Context"]:
    """Build the context; exit with 2 and one sentence if something prevents the command.

    If it `looks`, the databases of the chosen groups are looked for first.
    """
    import psycopg

    from daemon.bootstrap import build_context
    from daemon.monitoring.log import set_up
    from postgres.session import TargetError
    from store.store import StoreError

    config = load_configuration(path)
    if database is not None and not config.may_have(database):
        fail(unknown_name("database", database, config.databases), Exit.CANNOT)
    set_up(quiet=True)
    try:
        with closed_output_ends_well():
            context = build_context(config)
            if looks:
                context = _looked(context, database, tags or ())
            if database is not None:
                _require_found(context, database)
            yield context
    except (StoreError, TargetError, psycopg.Error, OSError, UnicodeError) as error:
        fail(plain_error(error), Exit.CANNOT)


def _looked(context: "Context", database: str | None, tags: Collection[str]) -> "Context":
    """Look for the databases of the chosen groups."""
    from daemon.bootstrap import renewed
    from daemon.config.groups import groups_of
    from daemon.discovery import look_for_databases
    from domain.place import means

    groups = [
        name
        for name, one in groups_of(context.written).items()
        if (database is None or means(name, database)) and set(tags) <= set(one.tags)
    ]
    problems = look_for_databases(context, groups)
    unasked = {name: str(error) for name, error in problems.items()}
    return replace(renewed(context), unasked=unasked)


def _require_found(context: "Context", database: str) -> None:
    """Exit with 2 if a group has no such database."""
    known = context.config.databases
    if database not in known.keys() | context.written.databases.keys() | context.missing:
        fail(unknown_name("database", database, known), Exit.CANNOT)


@contextmanager
def open_alert_context(path: Path | None) -> Iterator["AlertContext"]:
    """Build the context of alerts alone; exit with 2 and one sentence if that fails."""
    from daemon.bootstrap import build_alert_context
    from daemon.monitoring.log import set_up
    from store.store import StoreError

    config = load_configuration(path, with_checks=False)
    set_up(quiet=True)
    try:
        with closed_output_ends_well():
            yield build_alert_context(config)
    except (StoreError, OSError, UnicodeError) as error:
        fail(plain_error(error), Exit.CANNOT)


def plain_error(error: Exception) -> str:
    """Return an error as a sentence; one of the system without its number."""
    if isinstance(error, PermissionError) and error.filename:
        return f"{error.filename}: no permission; run sereno as the owner of its folder"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


@contextmanager
def closed_output_ends_well() -> Iterator[None]:
    """Exit with 0 if the reader of the output has closed it."""
    try:
        yield
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(Exit.FINE) from None


def unknown_name(kind: str, name: str, known: Collection[str]) -> str:
    """Return a sentence about an unknown name, with the nearest known one."""
    close = difflib.get_close_matches(name, known, 1)
    listed = ", ".join([*list(known)[:MOST_KNOWN], *(["…"] if len(known) > MOST_KNOWN else [])])
    hint = f"; did you mean {close[0]!r}?" if close else f" (known: {listed or 'none'})"
    return f"there is no {kind} {name!r}{hint}"


def fail(sentence: str, code: Exit) -> NoReturn:
    """Print a sentence on standard error and exit."""
    from domain.redaction import redact

    for line in sentence.splitlines():
        text = f"sereno: {redact(line)}" if line[:1] != " " else f"  {redact(line.strip())}"
        if sys.stderr.isatty():
            width = shutil.get_terminal_size().columns
            text = textwrap.fill(text, width, subsequent_indent="  ", break_long_words=False)
        typer.echo(text, err=True)
    raise typer.Exit(code)


def print_answer(sentence: str, value: object, *, as_json: bool) -> None:
    """Print a sentence, or a value as JSON."""
    if as_json:
        print_json(value)
    else:
        typer.echo(sentence)


def print_json(value: object) -> None:
    """Print a value as JSON."""
    json.dump(value, sys.stdout, indent=2, default=str, ensure_ascii=False)
    sys.stdout.write("\n")
