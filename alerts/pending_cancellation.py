"""Cancellation of waiting notifications that are no longer wanted."""

import json
from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import datetime

from alerts import alert_store, silences
from alerts.alert import NOTIFYING, Alert, Change, Notification, Reason, State
from alerts.policy import Policy
from store.store import Transaction

_WITHDRAW = """
    DELETE FROM notification
    WHERE alert = ? AND state = 'pending' AND bundle = '' AND recipients = '[]'
      AND reason IN (SELECT value FROM json_each(?))
"""
_UNNOTIFIED_RESOLVES = """
    -- a resolve whose channel was notified of nothing else
    DELETE FROM notification
    WHERE alert = ? AND reason = 'resolved' AND state = 'pending' AND bundle = ''
      AND recipients = '[]'
      AND NOT EXISTS (SELECT 1 FROM notification e
                      WHERE e.alert = notification.alert AND e.rowid < notification.rowid
                        AND e.channel = notification.channel
                        AND e.generation = notification.generation)
"""
_ALERTS = """
    SELECT DISTINCT alert FROM notification
    WHERE alert IS NOT NULL AND id IN (SELECT value FROM json_each(?))
"""
_AGAIN = frozenset({Reason.REPEATED, Reason.ESCALATED})
_ALARMS = NOTIFYING - {Reason.RESOLVED, Reason.ACKNOWLEDGED, Reason.CHANGED, Reason.CHANNEL_TEST}


def cancel_pending(
    transaction: Transaction, policy: Policy, alerts: Iterable[Alert], now: datetime
) -> None:
    """Cancel waiting calls of acknowledged alerts, and all waiting messages of silenced ones.

    A silenced alert that is still firing at the end of the silence is notified then.
    """
    active = silences.active(transaction, now)
    for alert in alerts:
        taken = alert.state is State.ACKNOWLEDGED
        if taken:
            _withdraw(transaction, alert, _AGAIN)
        silence = next((one for one in active if policy.matches_silence(one, alert, now)), None)
        if silence and alert.state is not State.RESOLVED and _withdraw(transaction, alert, _ALARMS):
            _withdraw(transaction, alert, {Reason.CHANGED})
            if not taken:
                withheld = Change(replace(alert, suppressed_by=str(silence)), Reason.SEEN)
                alert_store.save_change(transaction, withheld, None, now)


def cancel_pending_of(
    transaction: Transaction, policy: Policy, notification: Notification, now: datetime
) -> None:
    """Cancel those of the alerts in a message that were silenced while it was being sent."""
    numbers = [
        row["alert"] for row in transaction.rows(_ALERTS, (json.dumps(notification.members),))
    ]
    cancel_pending(transaction, policy, alert_store.load_alerts(transaction, numbers), now)


def _withdraw(transaction: Transaction, alert: Alert, reasons: Collection[Reason]) -> bool:
    """Return whether anything was cancelled."""
    count = transaction.execute(
        _WITHDRAW, (alert.id, json.dumps([reason.value for reason in reasons]))
    )
    if count:
        transaction.execute(_UNNOTIFIED_RESOLVES, (alert.id,))
    return count > 0
