"""`sereno metrics`: the metrics of the store as text, for the textfile collector."""

import os
import secrets
from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.options import ConfigOption, fail, open_context
from daemon.exit_codes import Exit

TEXT = "text/plain; version=0.0.4"


def metrics(
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Write this file at once, as node_exporter's textfile collector wants it.",
            show_default=False,
        ),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Print the metrics of the state file; those of the process are at /metrics only."""
    with open_context(config) as context:
        from daemon.monitoring.metrics import render, store_registry

        body, _ = render(store_registry(context), TEXT)
        if out is None:
            typer.echo(body.decode(), nl=False)
            return
        if out.suffix != ".prom":
            fail(f"--out {out}: the collector reads files whose name ends in .prom", Exit.CANNOT)
        _replace(out, body)


def _replace(out: Path, body: bytes) -> None:
    """Replace a file in one step: a reader sees the old one or the new one. Raises OSError."""
    beside = out.with_name(f".{out.name}.{secrets.token_hex(8)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        with os.fdopen(os.open(beside, flags, 0o644), "wb") as file:
            file.write(body)
        beside.replace(out)
    finally:
        beside.unlink(missing_ok=True)
