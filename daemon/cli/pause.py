"""`sereno pause` and `sereno resume`."""

from typing import Annotated

import typer

from daemon.cli.options import ConfigOption, JsonOption, fail, open_context, print_answer
from daemon.exit_codes import Exit


def pause(
    until: Annotated[
        str | None,
        typer.Option(
            "--until",
            help="End of the pause: a time of today or tomorrow (06:30), or 2026-03-01T06:30.",
            show_default=False,
        ),
    ] = None,
    duration: Annotated[
        str | None,
        typer.Option("--for", metavar="DURATION", help="Or its length (2h).", show_default=False),
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Shown by status.")] = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Pause all work; a running job pauses between two pieces of its work."""
    with open_context(config) as context:
        from daemon.cli.arguments import parse_after, parse_until
        from daemon.cli.output import local_minute, zone_name
        from daemon.history import pause as stored

        zone = context.config.daemon.timezone
        if until and duration:
            fail("give --until or --for, not both", Exit.CANNOT)
        end = parse_until(until, zone, context.clock()) if until else None
        if duration:
            end = parse_after(context.clock(), duration)
        with context.store.transaction() as transaction:
            stored.pause(transaction, end, reason, context.clock())
        limit = "sereno resume"
        if end:
            limit = f"{local_minute(end, zone)} ({zone_name(zone)})"
        print_answer(f"paused until {limit}", {"paused": True, "until": end}, as_json=as_json)


def resume(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Resume paused work."""
    with open_context(config) as context:
        from daemon.history import pause as stored

        with context.store.transaction() as transaction:
            was_paused = stored.resume(transaction)
        sentence = "nothing was paused"
        if was_paused:
            sentence = "resumed"
        print_answer(sentence, {"paused": False, "was_paused": was_paused}, as_json=as_json)
