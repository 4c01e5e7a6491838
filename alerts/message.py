"""An alert in words, without secrets. Pure; and to and from the text that the outbox keeps."""

import json
from dataclasses import asdict
from datetime import datetime
from typing import Any

from alerts.alert import Alert, Change, Letter, Message, Reason
from alerts.scrub import scrub
from checks.finding import Severity
from store.instant import from_text, to_text

_TYPES = {"migration": "MIGRATION_STATUS"}
_DEFAULT_TYPE = "MAINTENANCE_FAILURE"
MOST_DETAILS = 20


def compose(change: Change, instance: str, now: datetime) -> Message:
    """Say what changed. The title stays the same as long as the alert lives: mail threads hang on it."""
    alert = change.alert
    place = " ".join(part for part in (alert.database, alert.object or alert.task) if part)
    return Message(
        instance=instance,
        severity=alert.severity,
        reason=change.reason,
        kind=alert.kind,
        type=_TYPES.get(alert.kind, _DEFAULT_TYPE),
        title=scrub(f"{alert.kind}: {place}" if place else alert.kind),
        summary=scrub(alert.summary),
        database=scrub(alert.database),
        object=scrub(alert.object),
        remedy=scrub(alert.remedy),
        occurred_at=now,
        alert=alert.id,
        fingerprint=alert.fingerprint,
        details=_details(alert),
        action_required=change.reason is not Reason.RESOLVED and alert.severity >= Severity.HIGH,
    )


def _details(alert: Alert) -> dict[str, str]:
    details = {scrub(str(name)): scrub(_value(value)) for name, value in list(alert.evidence.items())[:MOST_DETAILS]}
    details["first seen"] = alert.opened_at.isoformat(timespec="seconds")
    if alert.occurrences > 1:
        details["seen"] = f"{alert.occurrences} times"
    return details


def _value(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value)
    return str(value)


def to_json(message: Message) -> str:
    """Write a message for the outbox."""
    return json.dumps({**asdict(message), "occurred_at": to_text(message.occurred_at)}, ensure_ascii=False)


def from_json(text: str) -> Message:
    """Read what `to_json` wrote."""
    values: dict[str, Any] = json.loads(text)
    values["occurred_at"] = from_text(values["occurred_at"])
    values["severity"] = Severity(values["severity"])
    values["reason"] = Reason(values["reason"])
    values["letter"] = Letter(**values["letter"]) if values.get("letter") else None
    return Message(**values)
