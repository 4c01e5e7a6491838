"""`sereno alerts …`."""

import getpass
from typing import Annotated

import typer

from daemon.cli.options import LARGEST, ConfigOption, JsonOption, answer, fail, parts, say
from daemon.exit import Exit

app = typer.Typer(
    help="What is open, who was told, and whether a channel works.", no_args_is_help=True, rich_markup_mode=None
)


@app.command("list")
def list_alerts(
    everything: Annotated[bool, typer.Option("--all", help="Resolved ones too.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List open alerts."""
    with parts(config) as wired:
        from alerts import book
        from daemon.cli.render import as_row
        from daemon.screen import table

        with wired.store.reading() as transaction:
            found = book.latest(transaction, 500) if everything else book.known(transaction).alerts
        rows = [as_row(alert) for alert in found]
        if as_json:
            answer(rows)
        else:
            shown = [
                (
                    row["alert"],
                    row["severity"],
                    row["state"],
                    f"{row['kind']} {row['object']}: {row['summary']}",
                    row["opened"][:16],
                )
                for row in rows
            ]
            table("Alerts", ("alert", "severity", "state", "what", "since (UTC)"), shown)


@app.command()
def ack(
    alert: Annotated[int, typer.Argument(min=1, max=LARGEST, help="The alert's number.")],
    who: Annotated[str, typer.Option("--as", help="Your name.", show_default=False)] = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Acknowledge an alert: it is not repeated until it gets worse or comes back."""
    with parts(config) as wired:
        from alerts import book

        with wired.store.transaction() as transaction:
            if not book.acknowledge(transaction, alert, who or getpass.getuser()):
                fail(f"there is no open alert {alert}", Exit.CANNOT)
        say(f"alert {alert} acknowledged", {"alert": alert, "state": "acknowledged"}, as_json=as_json)


@app.command()
def resolve(
    alert: Annotated[int, typer.Argument(min=1, max=LARGEST, help="The alert's number.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Declare an alert over that no look can end any more (its database is gone); whoever was told hears it."""
    with parts(config) as wired:
        from alerts import book
        from alerts.policy import Coverage
        from daemon.cli.session import deliver
        from daemon.tell import tell

        with wired.store.reading() as transaction:
            found = book.one(transaction, alert)
        if found is None or found.resolved_at is not None:
            fail(f"there is no open alert {alert}", Exit.CANNOT)
        tell(wired, [], [Coverage(found.kind, found.database, found.object, found.task, found.cluster)])
        deliver(wired, 10)
        say(f"alert {alert} resolved", {"alert": alert, "state": "resolved"}, as_json=as_json)


@app.command()
def outbox(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List what is not yet delivered, and why."""
    with parts(config) as wired:
        from dataclasses import asdict

        from alerts import outbox as box
        from daemon.screen import table

        with wired.store.reading() as transaction:
            waiting = box.waiting(transaction)
        if as_json:
            answer([asdict(one) for one in waiting])
        else:
            columns = ("channel", "title", "state", "attempts", "next try", "last error")
            rows = [
                (
                    one.channel,
                    one.title,
                    one.state,
                    one.attempts,
                    f"{one.not_before:%H:%M:%S} UTC",
                    one.last_error,
                )
                for one in waiting
            ]
            table("Outbox", columns, rows)


@app.command()
def test(
    channels: Annotated[
        list[str] | None,
        typer.Argument(help="Channels; all of them where none is named.", show_default=False),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send a drill through the real outbox and say what each channel answered."""
    with parts(config) as wired:
        from daemon.cli.drill import drill

        unknown = [name for name in channels or () if name not in wired.channels]
        if unknown:
            fail(
                f"there is no channel {unknown[0]!r} ({', '.join(wired.channels) or 'none is configured'})",
                Exit.CANNOT,
            )
        if not wired.channels:
            fail("no channel is configured ([channels.NAME])", Exit.CANNOT)
        answered = list(drill(wired, channels or list(wired.channels)))
        if as_json:
            keys = ("channel", "state", "accepted", "error")
            answer([dict(zip(keys, one, strict=True)) for one in answered])
        else:
            for name, state, receipt, error in answered:
                accepted = f"accepted: {receipt}" if receipt else ("accepted" if state == "sent" else state)
                typer.echo(f"{name}: {accepted}{f' ({error})' if error and error not in receipt else ''}")
        raise typer.Exit(Exit.FINE if all(state == "sent" for _, state, _, _ in answered) else Exit.FOUND)


@app.command("service-failed")
def service_failed(
    unit: Annotated[str, typer.Option("--unit", help="Which unit has failed.")] = "sereno.service",
    config: ConfigOption = None,
) -> None:
    """Tell that the service has died: for OnFailure=, works without it, its state file or a good configuration."""
    import os
    import sys

    import structlog

    from daemon.cli.obituary import tell_of_death
    from daemon.config.load import ConfigError
    from daemon.log import set_up

    set_up(sys.stderr, quiet=True)
    try:
        answered = list(tell_of_death(config, unit, os.environ))
    except ConfigError as error:
        structlog.get_logger("service").critical("untold", unit=unit, reason=str(error))
        fail(f"{unit} has failed, and nobody can be told: {error}", Exit.CONFIG)
    for name, said in answered:
        typer.echo(f"{name}: {said}")
    if not any(said.startswith("told") for _, said in answered):
        structlog.get_logger("service").critical("untold", unit=unit, channels=dict(answered))
        raise typer.Exit(Exit.FOUND)
