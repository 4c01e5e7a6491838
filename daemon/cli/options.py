"""The options that every command takes, and how a command ends."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from daemon.exit_codes import Exit

if TYPE_CHECKING:
    from daemon.config.model import Config
    from daemon.context import Context


LARGEST = 2**62
"""Numbers of runs and alerts end somewhere."""

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="Configuration file; else $SERENO_CONFIG, else /etc/sereno/config.toml.",
        show_default=False,
    ),
]
DatabaseOption = Annotated[
    str | None,
    typer.Option("--database", help="Only this configured database.", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]


def config_path(path: Path | None) -> Path:
    """Return which configuration file is meant."""
    from daemon.config.load import DEFAULT

    return path or Path(os.environ.get("SERENO_CONFIG") or DEFAULT)


def load_configuration(path: Path | None) -> "Config":
    """Load it, or end with 78 and every mistake."""
    from daemon.config.load import ConfigError, load_config
    from daemon.registry import JOB_NAMES

    try:
        return load_config(config_path(path), JOB_NAMES)
    except ConfigError as error:
        typer.echo(f"sereno: {error}", err=True)
        raise typer.Exit(Exit.CONFIG) from None


@contextmanager
def open_context(path: Path | None, database: str | None = None) -> Iterator["Context"]:
    """Load and wire everything; what cannot be done ends with 2 and one sentence."""
    import psycopg

    from daemon.bootstrap import build_context
    from daemon.monitoring.log import set_up
    from postgres.session import TargetError
    from store.store import StoreError

    config = load_configuration(path)
    if database is not None and database not in config.databases:
        fail(
            f"there is no database {database!r} in the configuration ({', '.join(config.databases)})",
            Exit.CANNOT,
        )
    set_up(quiet=True)
    try:
        yield build_context(config)
    except BrokenPipeError:  # whoever read us has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(Exit.FINE) from None
    except (StoreError, TargetError, psycopg.Error, OSError, UnicodeError) as error:
        fail(str(error), Exit.CANNOT)


def fail(sentence: str, code: Exit) -> NoReturn:
    """Say why on standard error, and end."""
    from domain.redaction import redact

    for line in sentence.splitlines():
        typer.echo(
            f"sereno: {redact(line)}" if line[:1] != " " else f"  {redact(line.strip())}", err=True
        )
    raise typer.Exit(code)


def print_answer(sentence: str, value: object, *, as_json: bool) -> None:
    """Print a sentence for a person, or the same as JSON."""
    if as_json:
        print_json(value)
    else:
        typer.echo(sentence)


def print_json(value: object) -> None:
    """Print JSON."""
    json.dump(value, sys.stdout, indent=2, default=str, ensure_ascii=False)
    sys.stdout.write("\n")
