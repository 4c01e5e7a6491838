"""Alerts and silences as JSON objects and as terminal lines."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from alerts.alert import Alert
from daemon.cli.output import counted, name_or_own_line, severity_label
from domain.redaction import redact

if TYPE_CHECKING:
    from alerts.policy import Silence


def alert_row(alert: Alert, suppressed_by: str = "") -> dict[str, Any]:
    """Return an alert as a JSON object; instants are UTC."""
    return {
        "alert": alert.id,
        "severity": alert.severity.value,
        "state": alert.state.value,
        "kind": alert.kind,
        "database": alert.database,
        "object": redact(alert.object or alert.task),
        "summary": redact(alert.summary),
        "opened": f"{alert.opened_at:%Y-%m-%dT%H:%M:%SZ}",
        "seen": alert.occurrences,
        "acknowledged_by": redact(alert.acknowledged_by),
        "suppressed_by": suppressed_by or alert.suppressed_by,
        "fingerprint": alert.fingerprint,
    }


def print_alert(alert: Alert, state: str, *, indent: int = 0) -> None:
    """Print an open alert as one line; an object that does not fit is on a line of its own."""
    if alert.acknowledged_by:
        state = f"acknowledged by {redact(alert.acknowledged_by)}"
    elif alert.flapping and alert.passes:
        state = f"not found the last {counted(alert.passes, 'time')}, but flapping"
    head = (
        f"#{alert.id:<4} {severity_label(alert.severity)} {alert.database or 'host'}  {alert.kind}"
    )
    subject = redact(alert.object or alert.task)
    name_or_own_line(head, subject, f"   {state}", indent=indent, hanging=6)


def silence_row(silence: "Silence") -> dict[str, Any]:
    """Return a silence, or a maintenance window (number 0), as a JSON object."""
    return {
        "silence": silence.id,
        "matches": silence_text(silence),
        "until": f"{silence.ends_at:%Y-%m-%dT%H:%M:%SZ}",
        "author": silence.author,
        "reason": silence.reason,
    }


def silence_text(silence: "Silence") -> str:
    """Return what a silence matches."""
    given = silence.matcher.given()
    return ", ".join(f"{name} {_listed(value)}" for name, value in given.items()) or "all alerts"


def _listed(value: str | Sequence[str]) -> str:
    return (value if isinstance(value, str) else ", ".join(value)) or "none"
