"""The statements that store alerts and their events."""

import json
from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime

from alerts.alert import Alert, Change, Reason, State, Thread
from alerts.alert_state import AlertState
from domain.coverage import Coverage
from domain.finding import Severity
from domain.kinds import DATABASE_UNREACHABLE, SERVER_UNREACHABLE
from store.store import Row, Transaction
from store.timestamps import from_text, to_text

_OPEN = "SELECT * FROM alert WHERE resolved_at IS NULL ORDER BY id"
_CONCERNED = """
    SELECT * FROM alert WHERE resolved_at IS NULL
      AND (fingerprint IN (SELECT value FROM json_each(:fingerprints))
           OR kind IN (SELECT json_extract(value, '$.kind') FROM json_each(:areas))
              AND EXISTS (
                SELECT 1 FROM json_each(:areas) area
                WHERE kind = json_extract(area.value, '$.kind')
                  AND database = coalesce(json_extract(area.value, '$.database'), database)
                  AND object = coalesce(json_extract(area.value, '$.object'), object)
                  AND task = coalesce(json_extract(area.value, '$.task'), task)
                  AND cluster = coalesce(json_extract(area.value, '$.cluster'), cluster)))
    ORDER BY id
"""
_REVIEWED = """
    SELECT * FROM alert WHERE resolved_at IS NULL
      AND (suppressed_by <> '' OR severity = 'critical'
           OR next_repeat_at <= :now OR acknowledged_until <= :now)
    ORDER BY id
"""
_ENDED_BEFORE = """
    SELECT * FROM alert WHERE id IN (
      SELECT max(id) FROM alert
      WHERE resolved_at IS NOT NULL AND fingerprint IN (SELECT value FROM json_each(?))
      GROUP BY fingerprint)
"""
_LOST = """
    SELECT kind, database, object FROM alert
    WHERE resolved_at IS NULL AND kind IN (?, ?) AND state <> 'pending' AND passes = 0
"""
_ALL = "SELECT * FROM alert ORDER BY id DESC LIMIT ?"
_ENDED = (
    "SELECT * FROM alert WHERE resolved_at > ? AND generation > 0 ORDER BY resolved_at DESC LIMIT ?"
)
_OVER = "SELECT count(*) AS alerts FROM alert WHERE resolved_at < ?"
_FORGET_EVENTS = """
DELETE FROM event WHERE alert IN (
  SELECT id FROM alert
  WHERE resolved_at < ? AND NOT EXISTS (SELECT 1 FROM notification
    WHERE notification.alert = alert.id)
)
"""
_FORGET = """
DELETE FROM alert WHERE resolved_at < ?
  AND NOT EXISTS (SELECT 1 FROM notification WHERE notification.alert = alert.id)
"""
_ONE = "SELECT * FROM alert WHERE id = ?"
_SEVERAL = """
    SELECT * FROM alert
    WHERE id IN (SELECT CAST(value AS BIGINT) FROM json_each(?))
    ORDER BY id
"""
_NOTIFIED = """
    SELECT DISTINCT n.alert, n.channel FROM notification n JOIN alert a ON a.id = n.alert
    WHERE a.id IN (SELECT CAST(value AS BIGINT) FROM json_each(?)) AND n.generation = a.generation
      AND (n.state <> 'dead' OR n.recipients <> '[]')
    ORDER BY n.alert, n.channel
"""
_NOTIFIED_ON = """
    SELECT * FROM alert a WHERE resolved_at IS NULL AND state <> 'pending' AND EXISTS (
      SELECT 1 FROM notification n
      WHERE n.alert = a.id AND n.generation = a.generation AND n.channel = ? AND n.state = 'sent')
    ORDER BY id
"""
_TOLD = """
    SELECT a.fingerprint, n.channel, a.resolved_at IS NULL AS open,
           a.state = 'acknowledged' AS acknowledged,
           coalesce(c.remote, '') AS remote, coalesce(c.subject, '') AS subject
    FROM alert a
    JOIN notification n -- by the left table, as + says to SQLite: there are few such alerts
      ON n.alert = +a.id AND n.generation = a.generation AND n.state = 'sent'
    LEFT JOIN conversation c ON c.alert = a.id AND c.channel = n.channel
    WHERE (a.resolved_at IS NULL OR a.resolved_at > ?) AND a.severity = ?
    GROUP BY a.id, n.channel, c.remote, c.subject
    ORDER BY a.id DESC
    LIMIT ?
"""
_EVENTS = """
    SELECT occurred_at, reason, severity, summary, who, run
    FROM event
    WHERE alert = ?
    ORDER BY id DESC LIMIT ?
"""
_COLUMNS = (
    "fingerprint",
    "kind",
    "cluster",
    "database",
    "object",
    "task",
    "state",
    "severity",
    "summary",
    "remedy",
    "evidence",
    "opened_at",
    "last_seen_at",
    "occurrences",
    "next_repeat_at",
    "acknowledged_by",
    "resolved_at",
    "peak_severity",
    "failures",
    "passes",
    "generation",
    "fired_at",
    "transitions",
    "flapping",
    "suppressed_by",
    "escalation",
    "acknowledged_until",
)
_INSERT = """
    INSERT INTO alert (
      fingerprint, kind, cluster, database, object, task, state, severity, peak_severity,
      summary, remedy, evidence, opened_at, last_seen_at, fired_at, resolved_at, next_repeat_at,
      acknowledged_by, acknowledged_until, occurrences, failures, passes, generation,
      transitions, flapping, suppressed_by, escalation)
    VALUES (
      :fingerprint, :kind, :cluster, :database, :object, :task, :state, :severity, :peak_severity,
      :summary, :remedy, :evidence, :opened_at, :last_seen_at, :fired_at, :resolved_at,
      :next_repeat_at, :acknowledged_by, :acknowledged_until, :occurrences, :failures, :passes,
      :generation, :transitions, :flapping, :suppressed_by, :escalation)
"""
_UPDATE = """
    UPDATE alert SET
      state = :state, severity = :severity, peak_severity = :peak_severity,
      summary = :summary, remedy = :remedy, evidence = :evidence,
      opened_at = :opened_at, last_seen_at = :last_seen_at, fired_at = :fired_at,
      resolved_at = :resolved_at, next_repeat_at = :next_repeat_at,
      acknowledged_by = :acknowledged_by, acknowledged_until = :acknowledged_until,
      occurrences = :occurrences, failures = :failures, passes = :passes,
      generation = :generation, transitions = :transitions, flapping = :flapping,
      suppressed_by = :suppressed_by, escalation = :escalation
    WHERE id = :id
"""
_EVENT = """
    INSERT INTO event (alert, run, reason, severity, summary, evidence, who, occurred_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
_AREA = ("kind", "database", "object", "task", "cluster")
_INSTANTS = ("next_repeat_at", "resolved_at", "fired_at", "acknowledged_until")


def load_open(transaction: Transaction) -> list[Alert]:
    """Return all open alerts, pending ones included."""
    return [_alert(row) for row in transaction.rows(_OPEN)]


def load_affected(
    transaction: Transaction, fingerprints: Collection[str], coverage: Collection[Coverage]
) -> AlertState:
    """Return the open alerts that a look has found or may resolve."""
    found = json.dumps(list(fingerprints))
    areas = json.dumps([{name: getattr(area, name) for name in _AREA} for area in coverage])
    rows = transaction.rows(_CONCERNED, {"fingerprints": found, "areas": areas})
    ended = {row["fingerprint"]: _alert(row) for row in transaction.rows(_ENDED_BEFORE, (found,))}
    return _known(transaction, [_alert(row) for row in rows], ended)


def load_due(transaction: Transaction, now: datetime) -> AlertState:
    """Return the alerts whose repeat, escalation or acknowledgement timeout may be due."""
    return _known(
        transaction, [_alert(row) for row in transaction.rows(_REVIEWED, {"now": to_text(now)})], {}
    )


def _known(
    transaction: Transaction, alerts: Sequence[Alert], ended: dict[str, Alert]
) -> AlertState:
    notified: dict[int, list[str]] = defaultdict(list)
    for row in transaction.rows(_NOTIFIED, (json.dumps([alert.id for alert in alerts]),)):
        notified[row["alert"]].append(row["channel"])
    kinds = (DATABASE_UNREACHABLE.name, SERVER_UNREACHABLE.name)
    lost = transaction.rows(_LOST, kinds)
    return AlertState(
        alerts,
        {number: tuple(names) for number, names in notified.items()},
        ended,
        (),
        unreachable=frozenset(row["database"] for row in lost if row["kind"] == kinds[0]),
        down=frozenset(row["object"] for row in lost if row["kind"] == kinds[1]),
    )


def load_latest(transaction: Transaction, limit: int) -> list[Alert]:
    """Return the newest alerts, resolved ones included."""
    return [_alert(row) for row in transaction.rows(_ALL, (limit,))]


def count_resolved(transaction: Transaction, before: datetime) -> int:
    """Count the alerts resolved before an instant."""
    return int(str(transaction.rows(_OVER, (to_text(before),))[0]["alerts"]))


def purge(transaction: Transaction, before: datetime) -> None:
    """Delete them with their events, unless a notification still refers to them."""
    transaction.execute(_FORGET_EVENTS, (to_text(before),))
    transaction.execute(_FORGET, (to_text(before),))


def load_resolved_since(transaction: Transaction, since: datetime, limit: int) -> list[Alert]:
    """Return the alerts resolved since an instant, latest first."""
    return [_alert(row) for row in transaction.rows(_ENDED, (to_text(since), limit))]


def load_alert(transaction: Transaction, number: int) -> Alert | None:
    """Return an alert by number."""
    row = transaction.row(_ONE, (number,))
    if row is None:
        return None
    return _alert(row)


def load_alerts(transaction: Transaction, numbers: Collection[int]) -> list[Alert]:
    """Return alerts by number."""
    return [_alert(row) for row in transaction.rows(_SEVERAL, (json.dumps(list(numbers)),))]


def load_notified_on(transaction: Transaction, channel: str) -> list[Alert]:
    """Return the open alerts that a channel was notified of."""
    return [_alert(row) for row in transaction.rows(_NOTIFIED_ON, (channel,))]


def load_threads(
    transaction: Transaction, severity: Severity, since: datetime, limit: int
) -> dict[tuple[str, str], Thread]:
    """Return the thread of each notified channel, by fingerprint and channel.

    Of the alerts that are open, or were resolved since an instant: those would be reopened.
    """
    found: dict[tuple[str, str], Thread] = {}
    for row in transaction.rows(_TOLD, (to_text(since), severity.value, limit)):
        key = (row["fingerprint"], row["channel"])
        found.setdefault(key, _thread(row))
    return found


def _thread(row: Row) -> Thread:
    return Thread(row["remote"], row["subject"], bool(row["open"]), bool(row["acknowledged"]))


def load_events(transaction: Transaction, number: int, limit: int) -> list[Row]:
    """Return the events of an alert, latest first."""
    return transaction.rows(_EVENTS, (number, limit))


def load_recipients(transaction: Transaction, alert: Alert) -> AlertState:
    """Return the channels that were notified of an alert."""
    return _known(transaction, [alert], {})


def save_change(transaction: Transaction, change: Change, run: int | None, now: datetime) -> int:
    """Write the alert and, unless it was only seen again, its event; return its number."""
    values = _values(change.alert)
    number = change.alert.id
    if number is None:
        number = transaction.insert(_INSERT, values)
    else:
        transaction.execute(_UPDATE, {**values, "id": number})
    if change.reason is not Reason.SEEN:
        alert = change.alert
        described = (change.reason.value, alert.severity.value, alert.summary, values["evidence"])
        who = ""
        if change.reason is Reason.ACKNOWLEDGED:
            who = alert.acknowledged_by
        transaction.execute(_EVENT, (number, run, *described, who, to_text(now)))
    return number


def _values(alert: Alert) -> dict[str, str | int | None]:
    instants = {name: getattr(alert, name) for name in _INSTANTS}
    return {
        **{name: getattr(alert, name) for name in _COLUMNS},
        **{name: to_text(at) if at else None for name, at in instants.items()},
        "state": alert.state.value,
        "severity": alert.severity.value,
        "peak_severity": alert.peak_severity.value,
        "evidence": json.dumps(dict(alert.evidence), default=str, ensure_ascii=False),
        "opened_at": to_text(alert.opened_at),
        "last_seen_at": to_text(alert.last_seen_at),
        "transitions": json.dumps([to_text(transition) for transition in alert.transitions]),
        "flapping": int(alert.flapping),
    }


def _alert(row: Row) -> Alert:
    instants = {name: from_text(row[name]) if row[name] else None for name in _INSTANTS}
    read = {
        **{name: row[name] for name in _COLUMNS},
        **instants,
        "state": State(row["state"]),
        "severity": Severity(row["severity"]),
        "peak_severity": Severity(row["peak_severity"]),
        "evidence": json.loads(row["evidence"]),
        "opened_at": from_text(row["opened_at"]),
        "last_seen_at": from_text(row["last_seen_at"]),
        "transitions": tuple(
            from_text(transition) for transition in json.loads(row["transitions"])
        ),
        "flapping": bool(row["flapping"]),
    }
    return Alert(**read, id=row["id"])
