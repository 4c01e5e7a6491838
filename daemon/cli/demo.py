"""`sereno demo`."""

from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.options import fail
from daemon.demo.names import NAMES
from daemon.exit_codes import Exit


def demo(
    without: Annotated[
        list[str] | None,
        typer.Option(
            "--without",
            help=f"Leave a planted fault out (may be repeated): {', '.join(NAMES)}.",
            show_default=False,
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--folder",
            help="Where the messages and the page go; a fresh scratch folder otherwise.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """A sample cooperative on an embedded PostgreSQL, one whole night, and what each channel received."""
    from daemon.demo.faults import FAULTS

    unknown = [name for name in without or () if name not in FAULTS]
    if unknown:
        fail(f"there is no fault {unknown[0]!r} ({', '.join(FAULTS)})", Exit.CANNOT)
    from daemon.demo.night import DemoError, run_demo

    try:
        run_demo(frozenset(without or ()), folder)
    except DemoError as error:
        fail(str(error), Exit.CANNOT)
    except KeyboardInterrupt:
        fail("stopped", Exit.CANNOT)
