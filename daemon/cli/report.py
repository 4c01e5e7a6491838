"""`sereno report`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.options import ConfigOption, JsonOption, fail, open_context, print_json
from daemon.exit_codes import Exit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alerts.alert import Message
    from daemon.context import Context


def report(
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Write the page there, its pictures inside it.", show_default=False
        ),
    ] = None,
    send: Annotated[
        bool,
        typer.Option(
            "--send", help="Send it now to those who get the weekly one.", show_default=False
        ),
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell how the house is: what needs you, what changed, the nights, growth, next week.

    Asks no server.
    """
    with open_context(config) as context:
        from dataclasses import asdict

        from daemon.report.gather import gather
        from daemon.report.publication import report_message, save_page, write_letter
        from daemon.report.render import letter

        with context.store.reading() as transaction:
            found = gather(transaction, context.config, context.clock())
        if out is not None:
            _check(out)
        channels = _receivers(context) if send else ()
        if out is not None or send:
            written = write_letter(found)
            if out is not None:
                save_page(written, out)
                typer.echo(str(out), err=as_json)
            if send:
                _send(context, report_message(found, written), channels)
        if as_json:
            more = [
                {"job": job, "database": name, "objects": count}
                for (job, name), count in found.more_work.items()
            ]
            print_json(
                {
                    **asdict(found),
                    "more_works": more,
                    "sentence": found.sentence,
                    "colour": found.colour,
                }
            )
        elif out is None and not send:
            typer.echo(letter(found, {}).text, nl=False)


def _check(out: Path) -> None:
    if out.is_dir():
        fail(
            f"--out: {out} is a folder; give a file in it, like {out / 'report.html'}", Exit.CANNOT
        )
    if not out.absolute().parent.is_dir():
        fail(f"--out: the folder {out.absolute().parent} is not there", Exit.CANNOT)


def _receivers(context: "Context") -> "Sequence[str]":
    from daemon.report.health_report import receivers

    channels = receivers(context.config)
    if not channels:
        fail(
            "nobody gets the report: there is no email channel, and jobs.health_report.channels names none",
            Exit.CANNOT,
        )
    return channels


def _send(context: "Context", said: "Message", channels: "Sequence[str]") -> None:
    """Carry it to each reader, and say what each has answered."""
    from daemon.cli.channel_test import test_channels

    taken = True
    for channel, state, receipt, error in test_channels(context, said, channels):
        taken = taken and state == "sent"
        typer.echo(
            f"{channel}: {receipt or state}{f' ({error})' if error and error not in receipt else ''}",
            err=True,
        )
    if not taken:
        raise typer.Exit(Exit.FOUND)
