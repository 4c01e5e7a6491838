"""`sereno alerts outbox`, `test` and `service-failed`: what is owed, and whether it can arrive."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.options import ConfigOption, JsonOption, fail, open_context, print_json
from daemon.exit_codes import Exit

if TYPE_CHECKING:
    from alerts.outbox import Waiting


def outbox(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List what is not yet delivered, and why."""
    with open_context(config) as context:
        from dataclasses import asdict

        from alerts import outbox as box
        from daemon.console import print_table

        with context.store.reading() as transaction:
            waiting = box.load_waiting(transaction)
        if as_json:
            print_json([asdict(one) for one in waiting])
        else:
            columns = ("channel", "title", "attempts", "next try", "why it waits")
            print_table("Outbox", columns, [_row(one, context.clock()) for one in waiting])


def _row(one: "Waiting", now: datetime) -> tuple[object, ...]:
    """Return a line of the table, with the reason in words."""
    why = one.last_error
    if one.state == "leased":
        why = "it is being sent"
    elif not why:
        why = (
            "for others to go with it"
            if one.not_before > now
            else "for its turn; does the service run?"
        )
    return (one.channel, one.title, one.attempts, f"{one.not_before:%H:%M:%S} UTC", why)


def test(
    channels: Annotated[
        list[str] | None,
        typer.Argument(help="Channels; all of them where none is named.", show_default=False),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send a drill through the real outbox and say what each channel answered."""
    with open_context(config) as context:
        from daemon.cli.channel_test import test_channels
        from daemon.periodic_alerts import drill_message

        unknown = [name for name in channels or () if name not in context.channels]
        if unknown:
            fail(
                f"there is no channel {unknown[0]!r} ({', '.join(context.channels) or 'none is configured'})",
                Exit.CANNOT,
            )
        if not context.channels:
            fail("no channel is configured ([channels.NAME])", Exit.CANNOT)
        answered = list(
            test_channels(context, drill_message(context), channels or list(context.channels))
        )
        if as_json:
            keys = ("channel", "state", "accepted", "error")
            print_json([dict(zip(keys, one, strict=True)) for one in answered])
        else:
            for name, state, receipt, error in answered:
                waits = (
                    "not tried yet; sereno alerts outbox says why"
                    if state == "pending" and not error
                    else state
                )
                accepted = (
                    f"accepted: {receipt}"
                    if receipt
                    else ("accepted" if state == "sent" else waits)
                )
                typer.echo(
                    f"{name}: {accepted}{f' ({error})' if error and error not in receipt else ''}"
                )
        raise typer.Exit(
            Exit.FINE if all(state == "sent" for _, state, _, _ in answered) else Exit.FOUND
        )


def service_failed(
    unit: Annotated[str, typer.Option("--unit", help="Which unit has failed.")] = "sereno.service",
    config: ConfigOption = None,
) -> None:
    """Tell that the service has died.

    For OnFailure=, works without it, its state file or a good configuration.
    """
    import os
    import sys

    import structlog

    from daemon.cli.service_failed import report_service_failure
    from daemon.config.load import ConfigError
    from daemon.monitoring.log import set_up

    set_up(sys.stderr, quiet=True)
    try:
        answered = list(report_service_failure(config, unit, os.environ))
    except ConfigError as error:
        structlog.get_logger("service").critical("untold", unit=unit, reason=str(error))
        fail(f"{unit} has failed, and nobody can be told: {error}", Exit.CONFIG)
    for name, said in answered:
        typer.echo(f"{name}: {said}")
    if not any(said.startswith("told") for _, said in answered):
        structlog.get_logger("service").critical("untold", unit=unit, channels=dict(answered))
        raise typer.Exit(Exit.FOUND)
