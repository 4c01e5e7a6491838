"""`sereno demo`: a sample database with planted faults, maintained for one night and one week."""

from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.options import fail, unknown_name
from daemon.demo.names import NAMES
from daemon.exit_codes import Exit


def demo(
    without: Annotated[
        list[str] | None,
        typer.Option(
            "--without",
            metavar="FAULT",
            help=f"Leave a fault out (may be repeated): {', '.join(NAMES)}.",
            show_default=False,
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--folder",
            help="Folder for the messages and the page; default: a temporary folder.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Maintain a sample database with planted faults for one night and one week."""
    from daemon.demo.faults import FAULTS

    for name in without or ():
        if name not in FAULTS:
            fail(unknown_name("fault", name, FAULTS), Exit.CANNOT)
    from daemon.demo.night import DemoError, run_demo

    try:
        run_demo(frozenset(without or ()), folder)
    except DemoError as error:
        fail(str(error), Exit.CANNOT)
    except KeyboardInterrupt:
        fail("stopped", Exit.CANNOT)
