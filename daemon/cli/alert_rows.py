"""Alerts as terminal lines."""

from alerts.alert import Alert
from daemon.cli.output import counted, name_or_own_line, severity_label
from domain.redaction import redact


def print_alert(alert: Alert, place: str, state: str, *, indent: int = 0) -> None:
    """Print an open alert as one line; an object that does not fit is on a line of its own."""
    if alert.acknowledged_by:
        state = f"acknowledged by {redact(alert.acknowledged_by)}"
    elif alert.flapping and alert.passes:
        state = f"not found the last {counted(alert.passes, 'time')}, but flapping"
    head = f"#{alert.id:<4} {severity_label(alert.severity)} {place}  {alert.kind}"
    subject = redact(alert.object or alert.task)
    name_or_own_line(head, subject, f"   {state}", indent=indent, hanging=6)
