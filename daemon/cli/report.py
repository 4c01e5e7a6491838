"""`sereno report`: the health report, from the store alone."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daemon.cli.options import (
    ConfigOption,
    DatabaseOption,
    JsonOption,
    TagOption,
    fail,
    open_context,
    print_json,
)
from daemon.exit_codes import Exit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from alerts.alert import Message
    from alerts.catalogue import Tongue
    from daemon.context import Context
    from daemon.report.report import Report


OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out", metavar="FILE", help="Write the page with its charts.", show_default=False
    ),
]
LanguageOption = Annotated[
    str | None,
    typer.Option("--language", help="en or es; default as configured.", show_default=False),
]
NOT_SINCE = timedelta(hours=20)


def report(
    out: OutOption = None,
    send: Annotated[
        bool, typer.Option("--send", help="Send it now to the channels of the weekly report.")
    ] = False,
    tongue: LanguageOption = None,
    config: ConfigOption = None,
    database: DatabaseOption = None,
    tag: TagOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the health report; reads only the state file."""
    with open_context(config, database) as context:
        from daemon.cli.arguments import chosen_names
        from daemon.report.draw import draw
        from daemon.report.language import language
        from daemon.report.publication import save_page
        from daemon.report.render import letter

        if out is not None:
            _check_path(out)
        spoken = _tongue(tongue, context)
        channels = _receivers(context) if send else {}
        only = chosen_names(context, database, tag)
        found = _gather(context, timedelta() if send else NOT_SINCE, only)
        if only is not None:
            about = ", ".join(filter(None, (database, *(tag or ()))))
            found = replace(found, instance=f"{found.instance} ({about})")
        if out is not None or send:
            images = draw(found)
            if out is not None:
                save_page(letter(found, images, language(spoken)), out)
                typer.echo(str(out), err=as_json)
            _send_all(context, found, images, channels)
        if as_json:
            print_json(_as_json(found, spoken))
        elif out is None and not send:
            typer.echo(letter(found, {}, language(spoken)).text, nl=False)


def _gather(context: "Context", age: timedelta, only: "frozenset[str] | None") -> "Report":
    """Return the report since the last one of an age.

    One that is read beside the weekly report covers the same time.
    """
    from daemon.config.servers import addresses
    from daemon.history.chosen_databases import show_only
    from daemon.report.gather import gather
    from domain.place import SEPARATOR

    with context.store.reading() as transaction:
        if only is not None:
            known = addresses(context.written) | addresses(context.config)
            groups = {name.partition(SEPARATOR)[0] for name in only}
            show_only(transaction, only, {known[name] for name in (only | groups) & known.keys()})
        return gather(transaction, context.config, context.clock(), context.checks, age=age)


def _tongue(given: str | None, context: "Context") -> "Tongue":
    """Return the language: the given one, else the configured one; exit with 2 for another."""
    from alerts.catalogue import TONGUES
    from daemon.report.health_report import NAME

    found = given or context.config.job(NAME).language
    spoken = next((one for one in TONGUES if one == found), None)
    if spoken is None:
        fail(f"--language {found!r}: there are {', '.join(TONGUES)}", Exit.CANNOT)
    return spoken


def _as_json(found: "Report", tongue: "Tongue") -> dict[str, Any]:
    from dataclasses import asdict

    from daemon.report.language import language
    from daemon.report.layout import sentence

    texts = {"sentence": sentence(found, language(tongue)), "colour": found.colour}
    return {**asdict(found), **texts}


def _check_path(out: Path) -> None:
    if out.is_dir():
        example = out / "report.html"
        fail(f"--out: {out} is a folder; give a file in it, like {example}", Exit.CANNOT)
    if not out.absolute().parent.is_dir():
        fail(f"--out: the folder {out.absolute().parent} does not exist", Exit.CANNOT)


def _receivers(context: "Context") -> "Mapping[str, Tongue]":
    from daemon.report.health_report import languages

    channels = languages(context.config)
    if not channels:
        cure = "configure an email channel, or list channels in jobs.health_report.channels"
        fail(f"no channel receives the report: {cure}", Exit.CANNOT)
    return channels


def _send_all(
    context: "Context",
    found: "Report",
    images: "Mapping[str, str]",
    channels: "Mapping[str, Tongue]",
) -> None:
    """Send the report to every channel in its language; exit with 1 if one does not accept it."""
    from daemon.report.language import language
    from daemon.report.publication import report_message
    from daemon.report.render import letter

    accepted = True
    for tongue in sorted(set(channels.values())):
        message = report_message(found, letter(found, images, language(tongue)), tongue)
        accepted &= _send(context, message, [one for one in channels if channels[one] == tongue])
    if not accepted:
        raise typer.Exit(Exit.FOUND)


def _send(context: "Context", message: "Message", channels: "Sequence[str]") -> bool:
    """Send the report to the channels of one language; return whether each has accepted it."""
    from daemon.cli.channel_test import send_and_wait

    results = list(send_and_wait(context, message, channels))
    for result in results:
        typer.echo(result.text(), err=True)
    return all(result.state == "sent" for result in results)
