"""Messages: alerts as redacted text, and their JSON form in the outbox. Pure."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from alerts.alert import Alert, Change, Letter, Line, Message, Reason, State
from alerts.catalogue import TONGUES, Tongue, said
from domain.finding import Severity
from domain.kinds import message_type
from domain.redaction import redact
from store.timestamps import from_text, to_text

if TYPE_CHECKING:
    from alerts.policy import Policy

MOST_DETAILS = 20
_OTHER_LANGUAGE = "_es"
"""Evidence whose name ends so is the Spanish value of the one without it."""
_PARTS = frozenset({"value", "cure", "command", "kind"})
"""Evidence that is only a part of summaries and remedies."""


def compose(
    change: Change, policy: "Policy", channel: str, now: datetime, run: int | None = None
) -> Message:
    """Return the message about a change, in the language of a channel.

    The title is constant during an alert's life.
    """
    alert, tongue = change.alert, policy.language_of(channel)
    summary, remedy = policy.texts(alert, tongue)

    def clean(text: str) -> str:
        return redact(text, hide_addresses=policy.hide_addresses)

    details = {clean(name): clean(value) for name, value in shown_evidence(alert, tongue)}
    return Message(
        instance=policy.instance,
        severity=alert.severity,
        reason=change.reason,
        kind=alert.kind,
        type=message_type(alert.kind),
        title=clean(title(alert, policy.server_of(alert))),
        summary=clean(summary),
        database=clean(alert.database),
        object=clean(alert.object),
        remedy=clean(remedy),
        occurred_at=now,
        task=alert.task,
        alert=alert.id,
        fingerprint=alert.fingerprint,
        generation=alert.generation,
        opened_at=alert.fired_at or alert.opened_at,
        acknowledged_by=clean(alert.acknowledged_by),
        details=details | _seen(alert, policy.timezone, tongue) | _ended(change, run, tongue),
        action_required=alert.state is not State.RESOLVED and alert.severity >= Severity.HIGH,
        zone=policy.timezone,
        language=tongue,
        url=f"{policy.page}/alerts/{alert.id}" if policy.page and alert.id else "",
    )


def shown_evidence(alert: Alert, tongue: Tongue = "en") -> Iterator[tuple[str, str]]:
    """Yield the evidence for people as text, the first values of many.

    Left out are what the summary or the remedy says already, and what only makes their texts.
    """
    names = [str(name) for name in alert.evidence if str(name) not in _PARTS]
    plain = [one for one in names if not _is_translation(one, alert.evidence)]
    for name in plain[:MOST_DETAILS]:
        value = alert.evidence[name]
        if tongue == "es":
            value = alert.evidence.get(name + _OTHER_LANGUAGE, value)
        text = value_text(value)
        if value is not None and text not in {"", alert.remedy}:
            yield name, text


def _is_translation(name: str, evidence: Mapping[str, Any]) -> bool:
    return name.endswith(_OTHER_LANGUAGE) and name.removesuffix(_OTHER_LANGUAGE) in evidence


def title(alert: Alert, server: str = "") -> str:
    """Return the title of an alert; of several servers it names the one that it is about."""
    where = alert.database or (f"server of {server}" if server else "")
    place = " ".join(part for part in (where, alert.object or alert.task) if part)
    if place:
        return f"{alert.kind}: {place}"
    return alert.kind


def _seen(alert: Alert, zone: str, tongue: Tongue) -> dict[str, str]:
    local = alert.opened_at.astimezone(ZoneInfo(zone))
    details = {"first seen": f"{local:%Y-%m-%d %H:%M:%S %Z}"}
    if alert.occurrences > 1:
        details["seen"] = said(tongue, "{n} times", n=alert.occurrences)
    if alert.flapping:
        details["flapping"] = said(tongue, "notified again when it has been calm, or tomorrow")
    return details


def _ended(change: Change, run: int | None, tongue: Tongue) -> dict[str, str]:
    """Return the run that ended an alert."""
    if change.reason is Reason.RESOLVED and run is not None:
        return {"ended by": said(tongue, "run {n}: sereno history {n}", n=run)}
    return {}


def value_text(value: object) -> str:
    """Return a value of the evidence as text; the items of a list with commas."""
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value)
    return str(value)


def to_json(message: Message) -> str:
    """Return a message as JSON."""
    opened = to_text(message.opened_at) if message.opened_at else None
    values = {**asdict(message), "occurred_at": to_text(message.occurred_at), "opened_at": opened}
    return json.dumps(values, ensure_ascii=False)


def from_json(text: str) -> Message:
    """Parse a message, also of an older version."""
    values: dict[str, Any] = json.loads(text)
    values["occurred_at"] = from_text(values["occurred_at"])
    values["opened_at"] = from_text(values["opened_at"]) if values.get("opened_at") else None
    values["severity"] = Severity(values["severity"])
    values["reason"] = Reason(values["reason"])
    values["letter"] = Letter(**values["letter"]) if values.get("letter") else None
    values["lines"] = tuple(
        Line(**{**line, "severity": Severity(line["severity"])}) for line in values.get("lines", ())
    )
    if values.get("language") not in TONGUES:  # of a later version
        values.pop("language", None)
    known = {field.name for field in fields(Message)}  # fields of a later version are ignored
    return Message(**{name: value for name, value in values.items() if name in known})
