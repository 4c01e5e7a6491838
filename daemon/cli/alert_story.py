"""The story of one alert: what it is, what has become of it, and who was told what."""

from typing import Any

import typer

from alerts import alert_store, outbox, silences
from alerts.message import from_json
from daemon.cli.render import as_row, subject
from daemon.console import print_table
from daemon.context import Context
from domain.redaction import redact

LATEST = 50
LATEST_MESSAGES = 200


def alert_story(context: Context, number: int) -> dict[str, Any] | None:
    """Return it, the last events and messages first; None: there is no such alert."""
    now = context.clock()
    with context.store.reading() as transaction:
        alert = alert_store.load_alert(transaction, number)
        if alert is None:
            return None
        active = silences.active(transaction, now)
        events = alert_store.load_events(transaction, number, LATEST)
        messages = outbox.load_of_alert(transaction, number, LATEST_MESSAGES)
    return {
        **as_row(alert),
        "remedy": redact(alert.remedy),
        "evidence": {
            redact(str(name)): redact(str(value)) for name, value in alert.evidence.items()
        },
        "fired": alert.generation,
        "flapping": alert.flapping,
        "quiet": alert.suppressed_by or context.policy.silenced(alert, active, now),
        "channels": list(context.policy.channels(alert)),
        "events": [
            {**event, "summary": redact(event["summary"]), "who": redact(event["who"])}
            for event in events
        ],
        "messages": [
            {
                "channel": row["channel"],
                "reason": row["reason"],
                "state": row["state"],
                "at": row["sent_at"] or row["created_at"],
                "what": row["receipt"] or row["last_error"],
                "title": from_json(row["message"]).title,
            }
            for row in messages
        ],
    }


def print_alert_story(told: dict[str, Any]) -> None:
    """Print it for a person."""
    typer.echo(f"alert {told['alert']}: {subject(told)}")
    typer.echo(
        f"  {told['severity']}, {told['state']}, since {told['opened']} UTC, seen {told['seen']} times"
    )
    typer.echo(f"  {redact(told['summary'])}")
    shown = {
        "what to do": told["remedy"],
        "acknowledged by": told["acknowledged_by"],
        "kept quiet by": told["quiet"],
        "flapping": "it comes and goes" if told["flapping"] else "",
        "goes to": ", ".join(told["channels"]),
        **told["evidence"],
    }
    for name, value in shown.items():
        if value:
            typer.echo(f"  {name}: {value}")
    print_table(
        "What has happened",
        ("when (UTC)", "what", "severity", "run"),
        [
            (_minute(one["occurred_at"]), _event(one), one["severity"], one["run"] or "")
            for one in told["events"]
        ],
    )
    columns = ("when (UTC)", "channel", "because", "state", "what it said")
    rows = [
        (_minute(one["at"]), *(one[key] for key in ("channel", "reason", "state", "what")))
        for one in told["messages"]
    ]
    print_table("Who was told", columns, rows)


def _event(row: dict[str, Any]) -> str:
    return f"{row['reason']} by {row['who']}" if row["who"] else str(row["reason"])


def _minute(text: str) -> str:
    return text[:19].replace("T", " ")
