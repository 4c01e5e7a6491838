"""One alert in full for `sereno alerts show`: its state, events and notifications."""

from typing import Any

from alerts import alert_store, outbox, silences
from alerts.message import from_json
from daemon.cli.alert_rows import alert_row
from daemon.cli.output import columns, line, local_minute, prose, severity_label, zone_name
from daemon.context import Context
from domain.finding import Severity
from domain.redaction import redact

FLAPPING = "yes: it ends after an hour and three looks without it"
MOST_EVENTS = 50
MOST_MESSAGES = 200


def alert_details(context: Context, number: int) -> dict[str, Any] | None:
    """Return the alert, the latest events and notifications first; None if it does not exist."""
    now = context.clock()
    with context.store.reading() as transaction:
        alert = alert_store.load_alert(transaction, number)
        if alert is None:
            return None
        active = silences.active(transaction, now)
        events = alert_store.load_events(transaction, number, MOST_EVENTS)
        messages = outbox.load_of_alert(transaction, number, MOST_MESSAGES)
    suppressed_by = alert.suppressed_by or context.policy.silenced(alert, active, now)
    return {
        **alert_row(alert, suppressed_by),
        "remedy": redact(alert.remedy),
        "evidence": {
            redact(str(name)): redact(str(value)) for name, value in alert.evidence.items()
        },
        "times_fired": alert.generation,
        "flapping": alert.flapping,
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
                "answer": row["receipt"] or row["last_error"],
                "title": from_json(row["message"]).title,
            }
            for row in messages
        ],
    }


def print_alert_details(alert: dict[str, Any], zone: str) -> None:
    """Print the alert."""
    label = severity_label(Severity(alert["severity"])).strip()
    place = alert["database"] or "host"
    prose(f"alert {alert['alert']}: {label} {place}  {alert['kind']}  {alert['object']}")
    line(f"{alert['state']} since {local_minute(alert['opened'], zone)}", indent=2)
    prose(alert["summary"], indent=2)
    fields = {
        "remedy": alert["remedy"],
        "acknowledged by": alert["acknowledged_by"],
        "not notified": alert["suppressed_by"],
        "flapping": FLAPPING if alert["flapping"] else "",
        "channels": ", ".join(alert["channels"]),
        **alert["evidence"],
    }
    for name, value in fields.items():
        if value:
            prose(f"{name}: {value}", indent=2)
    line("events")
    rows = [
        (local_minute(event["occurred_at"], zone), _event(event), event["severity"])
        for event in alert["events"]
    ]
    for text in columns(rows):
        line(text, indent=2)
    line("notifications" if alert["messages"] else "notifications: none")
    sent = [
        (local_minute(one["at"], zone), one["channel"], one["reason"], one["state"])
        for one in alert["messages"]
    ]
    for text, one in zip(columns(sent), alert["messages"], strict=True):
        prose(f"{text}  {one['answer']}", indent=2)
    line(f"(times: {zone_name(zone)})")


def _event(event: dict[str, Any]) -> str:
    if event["who"]:
        return f"{event['reason']} by {event['who']}"
    return str(event["reason"])
