"""Counts of alerts and messages since an instant, for the health report."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from domain.finding import Severity
from store.store import Transaction
from store.timestamps import to_text

_EVENTS = """
    SELECT count(*) FILTER (WHERE reason IN ('opened', 'reopened', 'flapping')) AS opened,
           count(DISTINCT CASE WHEN reason = 'acknowledged' THEN alert END) AS acknowledged,
           count(*) FILTER (WHERE reason = 'resolved') AS resolved
    FROM event WHERE occurred_at > ?
"""
_ACKNOWLEDGED = """
    SELECT 86400.0 * (julianday(at) - julianday(asked_at)) AS seconds
    FROM (SELECT e.occurred_at AS at,
                 (SELECT max(o.occurred_at) FROM event o
                  WHERE o.alert = e.alert AND o.id < e.id
                    AND o.reason IN ('opened', 'reopened', 'flapping', 'severity_raised',
                                     'unmuted')) AS asked_at
          FROM event e WHERE e.reason = 'acknowledged' AND e.occurred_at > ?) AS acknowledged
    WHERE asked_at IS NOT NULL
"""
_MESSAGES = """
    SELECT count(*) FILTER (WHERE state = 'sent' AND sent_at > :since) AS sent,
           count(*) FILTER (WHERE state = 'dead' AND created_at > :since) AS dead,
           count(*) FILTER (WHERE state IN ('pending', 'leased') AND attempts > 0) AS waiting
    FROM notification
"""
_SEVERITIES = """
    SELECT e.alert, e.severity FROM event e
    JOIN (SELECT alert, max(id) AS id FROM event WHERE occurred_at <= ?
          AND alert IN (SELECT id FROM alert WHERE resolved_at IS NULL) GROUP BY alert) l
      ON l.id = e.id
"""


@dataclass(frozen=True, slots=True)
class Figures:
    """Counts since an instant."""

    opened: int = 0
    acknowledged: int = 0
    resolved: int = 0
    median_seconds: float | None = None
    """Median time from the last message that asked for one to each acknowledgement.

    None without one.
    """
    sent: int = 0
    dead: int = 0
    """Messages that no channel accepted."""
    waiting: int = 0
    """Messages tried and not yet delivered."""


def load_figures(transaction: Transaction, since: datetime) -> Figures:
    """Return the counts since an instant."""
    at = to_text(since)
    events = transaction.rows(_EVENTS, (at,))[0]
    messages = transaction.rows(_MESSAGES, {"since": at})[0]
    times = [row["seconds"] for row in transaction.rows(_ACKNOWLEDGED, (at,))]
    return Figures(
        **{name: events[name] for name in ("opened", "acknowledged", "resolved")},
        median_seconds=statistics.median(times) if times else None,
        **{name: messages[name] for name in ("sent", "dead", "waiting")},
    )


def severities_at(transaction: Transaction, instant: datetime) -> Mapping[int, Severity]:
    """Return the severity that each alert which is open now had at an instant."""
    rows = transaction.rows(_SEVERITIES, (to_text(instant),))
    return {row["alert"]: Severity(row["severity"]) for row in rows}
