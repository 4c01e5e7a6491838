"""`sereno metrics`: the metrics of the store as text, for the textfile collector."""

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
        from store.file_lock import replace_file

        body, _ = render(store_registry(context), TEXT)
        if out is None:
            typer.echo(body.decode(), nl=False)
            return
        if out.suffix != ".prom":
            fail(f"--out {out}: the collector reads files whose name ends in .prom", Exit.CANNOT)
        replace_file(out, body.decode(), 0o644)
