"""`sereno report`: the health report, from the store alone."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daemon.cli.options import ConfigOption, JsonOption, fail, open_context, print_json
from daemon.exit_codes import Exit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alerts.alert import Message
    from daemon.context import Context
    from daemon.report.report import Report


def report(
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", help="Write the page with its charts.", show_default=False
        ),
    ] = None,
    send: Annotated[
        bool, typer.Option("--send", help="Send it now to the channels of the weekly report.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the health report; reads only the state file."""
    with open_context(config) as context:
        from daemon.report.gather import gather
        from daemon.report.publication import report_message, save_page, write_letter
        from daemon.report.render import letter

        if out is not None:
            _check_path(out)
        channels = _receivers(context) if send else ()
        with context.store.reading() as transaction:
            found = gather(transaction, context.config, context.clock())
        if out is not None or send:
            written = write_letter(found)
            if out is not None:
                save_page(written, out)
                typer.echo(str(out), err=as_json)
            if send:
                _send(context, report_message(found, written), channels)
        if as_json:
            print_json(_as_json(found))
        elif out is None and not send:
            typer.echo(letter(found, {}).text, nl=False)


def _as_json(found: "Report") -> dict[str, Any]:
    from dataclasses import asdict

    more = [
        {"job": job, "database": name, "objects": count}
        for (job, name), count in found.more_work.items()
    ]
    texts = {"sentence": found.sentence, "colour": found.colour}
    return {**asdict(found), "more_work": more, **texts}


def _check_path(out: Path) -> None:
    if out.is_dir():
        example = out / "report.html"
        fail(f"--out: {out} is a folder; give a file in it, like {example}", Exit.CANNOT)
    if not out.absolute().parent.is_dir():
        fail(f"--out: the folder {out.absolute().parent} does not exist", Exit.CANNOT)


def _receivers(context: "Context") -> "Sequence[str]":
    from daemon.report.health_report import receivers

    channels = receivers(context.config)
    if not channels:
        cure = "configure an email channel, or list channels in jobs.health_report.channels"
        fail(f"no channel receives the report: {cure}", Exit.CANNOT)
    return channels


def _send(context: "Context", message: "Message", channels: "Sequence[str]") -> None:
    from daemon.cli.channel_test import send_and_wait

    results = list(send_and_wait(context, message, channels))
    for result in results:
        typer.echo(result.text(), err=True)
    if any(result.state != "sent" for result in results):
        raise typer.Exit(Exit.FOUND)
