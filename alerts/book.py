"""The book of alerts: the statements that keep alerts and their events."""

import json
from collections import defaultdict
from datetime import datetime

from alerts.alert import Alert, Change, Reason, State
from alerts.policy import Known
from checks.finding import Severity
from store.instant import from_text, to_text
from store.store import Row, Transaction

_OPEN = "SELECT * FROM alert WHERE resolved_at IS NULL ORDER BY id"
_ALL = "SELECT * FROM alert ORDER BY id DESC LIMIT ?"
_ENDED = "SELECT * FROM alert WHERE resolved_at > ? ORDER BY resolved_at DESC LIMIT ?"
_OVER = "SELECT count(*) AS alerts FROM alert WHERE resolved_at < ?"
_FORGET_EVENTS = """
DELETE FROM event WHERE alert IN (
  SELECT id FROM alert
  WHERE resolved_at < ? AND NOT EXISTS (SELECT 1 FROM notification WHERE notification.alert = alert.id)
)
"""
_FORGET = """
DELETE FROM alert WHERE resolved_at < ? AND NOT EXISTS (SELECT 1 FROM notification WHERE notification.alert = alert.id)
"""
_ONE = "SELECT * FROM alert WHERE id = ?"
_TOLD = """
    SELECT DISTINCT n.alert, n.channel FROM notification n JOIN alert a ON a.id = n.alert
    WHERE a.resolved_at IS NULL AND n.state <> 'dead' ORDER BY n.alert, n.channel
"""
_INSERT = """
    INSERT INTO alert (fingerprint, kind, cluster, database, object, task, state, severity, summary, remedy, evidence,
                       opened_at, last_seen_at, occurrences, next_repeat_at, acknowledged_by, resolved_at)
    VALUES (:fingerprint, :kind, :cluster, :database, :object, :task, :state, :severity, :summary, :remedy, :evidence,
            :opened_at, :last_seen_at, :occurrences, :next_repeat_at, :acknowledged_by, :resolved_at)
"""
_UPDATE = """
    UPDATE alert SET state = :state, severity = :severity, summary = :summary, remedy = :remedy, evidence = :evidence,
                     last_seen_at = :last_seen_at, occurrences = :occurrences, next_repeat_at = :next_repeat_at,
                     acknowledged_by = :acknowledged_by, resolved_at = :resolved_at
    WHERE id = :id
"""
_EVENT = """
    INSERT INTO event (alert, run, reason, severity, summary, evidence, occurred_at)
    VALUES (?, ?, ?, ?, ?, ?, ?)
"""
_ACKNOWLEDGE = """
    UPDATE alert SET state = 'acknowledged', acknowledged_by = ? WHERE id = ? AND resolved_at IS NULL
"""


def known(transaction: Transaction) -> Known:
    """Read what is open and who was told."""
    told: dict[int, list[str]] = defaultdict(list)
    for row in transaction.rows(_TOLD):
        told[row["alert"]].append(row["channel"])
    alerts = [_alert(row) for row in transaction.rows(_OPEN)]
    return Known(alerts, {alert: tuple(channels) for alert, channels in told.items()})


def latest(transaction: Transaction, limit: int) -> list[Alert]:
    """Read the newest alerts, the resolved ones too."""
    return [_alert(row) for row in transaction.rows(_ALL, (limit,))]


def over(transaction: Transaction, before: datetime) -> int:
    """Count the alerts that were over before."""
    return int(str(transaction.rows(_OVER, (to_text(before),))[0]["alerts"]))


def forget(transaction: Transaction, before: datetime) -> None:
    """Forget them, with their events, unless a message of theirs is still there."""
    transaction.execute(_FORGET_EVENTS, (to_text(before),))
    transaction.execute(_FORGET, (to_text(before),))


def ended(transaction: Transaction, since: datetime, limit: int) -> list[Alert]:
    """Read the alerts that ended since an instant, the last first."""
    return [_alert(row) for row in transaction.rows(_ENDED, (to_text(since), limit))]


def one(transaction: Transaction, number: int) -> Alert | None:
    """Read an alert by its number."""
    row = transaction.row(_ONE, (number,))
    return None if row is None else _alert(row)


def record(transaction: Transaction, change: Change, run: int | None, now: datetime) -> int:
    """Write the alert as it is now, and (unless it was only seen again) its event; return the alert's number."""
    values = _values(change.alert)
    number = change.alert.id
    if number is None:
        number = transaction.insert(_INSERT, values)
    else:
        transaction.execute(_UPDATE, {**values, "id": number})
    if change.reason is not Reason.SEEN:
        alert = change.alert
        event = (
            number,
            run,
            change.reason.value,
            alert.severity.value,
            alert.summary,
            values["evidence"],
            to_text(now),
        )
        transaction.execute(_EVENT, event)
    return number


def acknowledge(transaction: Transaction, number: int, who: str) -> bool:
    """Stop repeats of an open alert; say whether there was one."""
    return transaction.execute(_ACKNOWLEDGE, (who, number)) == 1


def _values(alert: Alert) -> dict[str, str | int | None]:
    return {
        "fingerprint": alert.fingerprint,
        "kind": alert.kind,
        "cluster": alert.cluster,
        "database": alert.database,
        "object": alert.object,
        "task": alert.task,
        "state": alert.state.value,
        "severity": alert.severity.value,
        "summary": alert.summary,
        "remedy": alert.remedy,
        "evidence": json.dumps(dict(alert.evidence), default=str, ensure_ascii=False),
        "opened_at": to_text(alert.opened_at),
        "last_seen_at": to_text(alert.last_seen_at),
        "occurrences": alert.occurrences,
        "next_repeat_at": to_text(alert.next_repeat_at) if alert.next_repeat_at else None,
        "acknowledged_by": alert.acknowledged_by,
        "resolved_at": to_text(alert.resolved_at) if alert.resolved_at else None,
    }


def _alert(row: Row) -> Alert:
    return Alert(
        fingerprint=row["fingerprint"],
        kind=row["kind"],
        cluster=row["cluster"],
        database=row["database"],
        object=row["object"],
        task=row["task"],
        state=State(row["state"]),
        severity=Severity(row["severity"]),
        summary=row["summary"],
        remedy=row["remedy"],
        evidence=json.loads(row["evidence"]),
        opened_at=from_text(row["opened_at"]),
        last_seen_at=from_text(row["last_seen_at"]),
        occurrences=row["occurrences"],
        next_repeat_at=from_text(row["next_repeat_at"]) if row["next_repeat_at"] else None,
        acknowledged_by=row["acknowledged_by"],
        resolved_at=from_text(row["resolved_at"]) if row["resolved_at"] else None,
        id=row["id"],
    )
