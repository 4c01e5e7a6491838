"""`sereno alerts …`."""

import getpass
from datetime import datetime
from typing import Annotated

import typer

from daemon.cli.options import (
    LARGEST,
    ConfigOption,
    JsonOption,
    fail,
    open_context,
    print_answer,
    print_json,
)
from daemon.exit_codes import Exit

app = typer.Typer(
    help="What is open, who was told, what is kept quiet, and whether a channel works.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Number = Annotated[int, typer.Argument(min=1, max=LARGEST, help="The alert's number.")]
Name = Annotated[str, typer.Option("--as", help="Your name.", show_default=False)]


@app.command("list")
def list_alerts(
    everything: Annotated[bool, typer.Option("--all", help="Resolved ones too.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List open alerts."""
    with open_context(config) as context:
        from alerts import alert_store, silences
        from daemon.cli.render import as_row, subject
        from daemon.console import print_table

        now = context.clock()
        with context.store.reading() as transaction:
            found = (
                alert_store.load_latest(transaction, 500)
                if everything
                else alert_store.load_open(transaction)
            )
            active = silences.active(transaction, now)
        rows = [
            {
                **as_row(alert),
                "quiet": alert.suppressed_by or context.policy.silenced(alert, active, now),
            }
            for alert in found
        ]
        if as_json:
            print_json(rows)
            return
        shown = [
            (
                row["alert"],
                row["severity"],
                f"{row['state']}{', quiet' if row['quiet'] else ''}",
                f"{subject(row)}: {row['summary']}",
                row["opened"][:16],
            )
            for row in rows
        ]
        print_table("Alerts", ("alert", "severity", "state", "what", "since (UTC)"), shown)


@app.command()
def show(alert: Number, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show one alert: what it is, what has become of it, and who was told what."""
    with open_context(config) as context:
        from daemon.cli.alert_story import alert_story, print_alert_story

        told = alert_story(context, alert)
        if told is None:
            fail(f"there is no alert {alert}", Exit.CANNOT)
        if as_json:
            print_json(told)
        else:
            print_alert_story(told)


@app.command()
def ack(
    alert: Number,
    who: Name = "",
    lasting: Annotated[
        str | None,
        typer.Option("--for", help="Then it is told again (8h); without it, until it is over."),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Acknowledge an alert: it is not repeated, nor escalated, until it gets worse or comes back."""
    with open_context(config) as context:
        from alerts import alert_store
        from alerts.alert import State
        from alerts.lifecycle import Acknowledgement
        from alerts.processor import AlertProcessor
        from daemon.cli.now_session import deliver_pending

        now = context.clock()
        until = None if lasting is None else _after(now, lasting)
        with context.store.transaction() as transaction:
            found = alert_store.load_alert(transaction, alert)
            if found is None or found.resolved_at is not None:
                fail(f"there is no open alert {alert}", Exit.CANNOT)
            if found.state is State.PENDING:
                fail(
                    f"alert {alert} is pending: nobody was told of it yet (alerts.thresholds)",
                    Exit.CANNOT,
                )
            taken = Acknowledgement(who or getpass.getuser(), until)
            AlertProcessor(transaction, context.policy, now).take(found, taken)
        deliver_pending(context, 10)
        print_answer(
            f"alert {alert} acknowledged",
            {"alert": alert, "state": "acknowledged"},
            as_json=as_json,
        )


@app.command()
def resolve(alert: Number, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Declare an alert over that no look can end any more (its database is gone).

    Whoever was told hears it.
    """
    with open_context(config) as context:
        from alerts import alert_store
        from daemon.alerting import process_findings
        from daemon.cli.now_session import deliver_pending
        from domain.coverage import Coverage

        with context.store.reading() as transaction:
            found = alert_store.load_alert(transaction, alert)
        if found is None or found.resolved_at is not None:
            fail(f"there is no open alert {alert}", Exit.CANNOT)
        area = Coverage(
            found.kind, found.database, found.object, found.task, found.cluster, final=True
        )
        process_findings(context, [], [area])
        deliver_pending(context, 10)
        print_answer(
            f"alert {alert} resolved", {"alert": alert, "state": "resolved"}, as_json=as_json
        )


@app.command()
def silence(
    reason: Annotated[str, typer.Option("--reason", help="Why; whoever wonders reads it.")],
    lasting: Annotated[str, typer.Option("--for", help="How long (2h, 3 days).")],
    database: Annotated[
        list[str] | None, typer.Option(help="A pattern, as the shell has them.")
    ] = None,
    job: list[str] | None = None,
    check: Annotated[
        list[str] | None, typer.Option(help="The kind: a check's name, task_failed, …")
    ] = None,
    object_: Annotated[list[str] | None, typer.Option("--object")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="One of its database's.")] = None,
    severity: Annotated[list[str] | None, typer.Option(help="May be given more than once.")] = None,
    who: Name = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keep alerts quiet for a while: nobody is told, unless they are over.

    What is still so afterwards is told then.
    """
    with open_context(config) as context:
        from alerts import alert_store
        from alerts.policy import Matcher, Silence
        from alerts.processor import AlertProcessor
        from daemon.cli.now_session import parse_severity

        now = context.clock()
        given = {"database": database, "job": job, "check": check, "object": object_, "tag": tag}
        patterns = {name: _single(name, values) for name, values in given.items() if values}
        matcher = Matcher(
            tuple(parse_severity(one, "--severity") for one in severity or ()), **patterns
        )
        if not reason.strip():
            fail("--reason: say why; whoever wonders reads it", Exit.CANNOT)
        if not patterns and not severity:
            fail(
                "say what is to be quiet: --check, --database, --object, … ('*' fits all)",
                Exit.CANNOT,
            )
        made = Silence(matcher, who or getpass.getuser(), reason, now, _after(now, lasting))
        with context.store.transaction() as transaction:
            number = AlertProcessor(transaction, context.policy, now).silence(made)
            meant = sum(
                context.policy.matches_silence(made, alert, now)
                for alert in alert_store.load_open(transaction)
            )
        said = {"silence": number, "until": made.ends_at.isoformat(), "open": meant}
        until = f"silence {number} until {made.ends_at:%Y-%m-%d %H:%M} UTC"
        print_answer(f"{until}; it means {meant} of the open alerts", said, as_json=as_json)


def _single(name: str, values: list[str]) -> str:
    if len(values) > 1:
        fail(
            f"--{name}: one pattern for each silence; make another one for {values[1]!r}",
            Exit.CANNOT,
        )
    return values[0]


@app.command("silences")
def list_silences(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List what is kept quiet, by whom and why; maintenance windows that are open, too."""
    with open_context(config) as context:
        from alerts import silences
        from daemon.cli.render import quiet_row
        from daemon.console import print_table

        now = context.clock()
        with context.store.reading() as transaction:
            rows = [
                quiet_row(one)
                for one in (*silences.active(transaction, now), *context.policy.windows(now))
            ]
        if as_json:
            print_json(rows)
        else:
            print_table(
                "Silences",
                ("silence", "what", "until (UTC)", "by", "why"),
                [tuple(row.values()) for row in rows],
            )


@app.command()
def unsilence(
    number: Annotated[int, typer.Argument(min=1, max=LARGEST, help="The silence's number.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a silence now."""
    with open_context(config) as context:
        from alerts import silences

        with context.store.transaction() as transaction:
            if not silences.end(transaction, number, context.clock()):
                fail(f"there is no silence {number} that is not over", Exit.CANNOT)
        print_answer(
            f"silence {number} ended", {"silence": number, "state": "ended"}, as_json=as_json
        )


def _after(now: datetime, text: str) -> datetime:
    from domain.units import parse_duration

    try:
        return now + parse_duration(text)
    except (ValueError, OverflowError) as error:
        fail(f"--for: {error}", Exit.CANNOT)
