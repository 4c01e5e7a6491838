"""Alerts and silences as JSON objects, for the command line and the HTTP interface."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from alerts import alert_store, outbox, silences
from alerts.alert import Alert
from alerts.catalogue import Tongue
from alerts.message import from_json, shown_evidence
from daemon.history import statistics
from domain.redaction import redact
from store.store import Row

if TYPE_CHECKING:
    from alerts.policy import Silence
    from daemon.context import Context

MOST_EVENTS = 50
MOST_MESSAGES = 200


def place_of(alert: Alert, clusters: Mapping[str, str]) -> str:
    """Return the place of an alert: its database, its server by its first database, or the host.

    `clusters` has the identifier of the server of each configured database.
    """
    server = server_of(alert, clusters)
    return alert.database or (f"server of {server}" if server else "host")


def server_of(alert: Alert, clusters: Mapping[str, str]) -> str:
    """Return the first database of the server that an alert is about.

    Empty for an alert about a database or the host, and where there is one server only.
    """
    if alert.database or not alert.cluster or len(set(clusters.values())) <= 1:
        return ""
    return min((name for name, one in clusters.items() if one == alert.cluster), default="")


def _utc(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


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
        "opened": _utc(alert.opened_at),
        "resolved": _utc(alert.resolved_at) if alert.resolved_at else None,
        "seen": alert.occurrences,
        "acknowledged_by": redact(alert.acknowledged_by),
        "suppressed_by": suppressed_by or alert.suppressed_by,
        "fingerprint": alert.fingerprint,
    }


def alert_details(context: "Context", number: int, tongue: Tongue = "en") -> dict[str, Any] | None:
    """Return the alert, the latest events and notifications first; None if it does not exist."""
    now = context.clock()
    with context.store.reading() as transaction:
        alert = alert_store.load_alert(transaction, number)
        if alert is None:
            return None
        active = silences.active(transaction, now)
        clusters = statistics.load_clusters(transaction)
        events = alert_store.load_events(transaction, number, MOST_EVENTS)
        messages = outbox.load_of_alert(transaction, number, MOST_MESSAGES)
    suppressed_by = alert.suppressed_by or context.policy.silenced(alert, active, now)
    summary, remedy = context.policy.texts(alert, tongue)
    until = alert.acknowledged_until if alert.acknowledged_by else None
    return {
        **alert_row(alert, suppressed_by),
        "place": place_of(alert, clusters),
        "summary": redact(summary),
        "remedy": redact(remedy),
        "evidence": {redact(name): redact(value) for name, value in shown_evidence(alert, tongue)},
        "times_fired": alert.generation,
        "flapping": alert.flapping,
        "channels": list(context.policy.channels(alert)),
        "acknowledged_until": until.isoformat() if until is not None else None,
        "events": [_event(event, {alert.summary: summary}) for event in events],
        "messages": [_message(row) for row in messages],
    }


def _event(event: Row, translated: Mapping[str, str]) -> dict[str, Any]:
    summary = translated.get(event["summary"], event["summary"])
    return {**event, "summary": redact(summary), "who": redact(event["who"])}


def _message(row: Row) -> dict[str, Any]:
    return {
        "channel": row["channel"],
        "reason": row["reason"],
        "state": row["state"],
        "at": row["sent_at"] or row["created_at"],
        "answer": row["receipt"] or row["last_error"],
        "title": from_json(row["message"]).title,
    }


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
