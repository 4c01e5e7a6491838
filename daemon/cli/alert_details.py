"""One alert in full for `sereno alerts show`, as terminal lines."""

from typing import Any

from daemon.cli.output import columns, line, local_minute, prose, severity_label, zone_name
from domain.finding import Severity

FLAPPING = "yes: it ends after an hour and three looks without it"


def print_alert_details(alert: dict[str, Any], zone: str) -> None:
    """Print the alert."""
    label = severity_label(Severity(alert["severity"])).strip()
    place = alert["place"]
    prose(f"alert {alert['alert']}: {label} {place}  {alert['kind']}  {alert['object']}")
    ended = f", resolved {local_minute(alert['resolved'], zone)}" if alert["resolved"] else ""
    state = "opened" if ended else f"{alert['state']} since"
    line(f"{state} {local_minute(alert['opened'], zone)}{ended}", indent=2)
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
