"""What waits and is not wanted any more: taken back, as long as nobody can have got it."""

import json
from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import datetime

from alerts import alert_store, silences
from alerts.alert import TOLD, Alert, Change, Notification, Reason, State
from alerts.policy import Policy
from store.store import Transaction

_WITHDRAW = """
    DELETE FROM notification
    WHERE alert = ? AND state = 'pending' AND bundle = '' AND recipients = '[]'
      AND reason IN (SELECT value FROM json_each(?))
"""
_UNHEARD = """
    -- the end of what its channel has not heard of, and now does not
    DELETE FROM notification
    WHERE alert = ? AND reason = 'resolved' AND state = 'pending' AND bundle = '' AND recipients = '[]'
      AND NOT EXISTS (SELECT 1 FROM notification e WHERE e.alert = notification.alert AND e.rowid < notification.rowid
                        AND e.channel = notification.channel AND e.generation = notification.generation)
"""
_ALERTS = "SELECT DISTINCT alert FROM notification WHERE alert IS NOT NULL AND id IN (SELECT value FROM json_each(?))"
_AGAIN = frozenset({Reason.REPEATED, Reason.ESCALATED})
_LOUD = TOLD - {Reason.RESOLVED, Reason.ACKNOWLEDGED, Reason.CHANGED, Reason.DRILL}


def take_back(transaction: Transaction, policy: Policy, alerts: Iterable[Alert], now: datetime) -> None:
    """Take back what would call somebody for what is acknowledged, and all of what is silenced.

    What is silenced so is told when the silence is over, if it is still so.
    """
    active = silences.active(transaction, now)
    for alert in alerts:
        taken = alert.state is State.ACKNOWLEDGED
        if taken:
            _withdraw(transaction, alert, _AGAIN)
        silence = next((one for one in active if policy.hushes(one, alert, now)), None)
        if silence and alert.state is not State.RESOLVED and _withdraw(transaction, alert, _LOUD):
            _withdraw(transaction, alert, {Reason.CHANGED})
            if not taken:
                withheld = Change(replace(alert, withheld=str(silence)), Reason.SEEN)
                alert_store.record(transaction, withheld, None, now)


def take_back_of(transaction: Transaction, policy: Policy, notification: Notification, now: datetime) -> None:
    """Do so with the alerts that a message is about, which somebody may have silenced while it was out."""
    numbers = [row["alert"] for row in transaction.rows(_ALERTS, (json.dumps(notification.members),))]
    take_back(transaction, policy, alert_store.several(transaction, numbers), now)


def _withdraw(transaction: Transaction, alert: Alert, reasons: Collection[Reason]) -> bool:
    """Say whether there was something."""
    count = transaction.execute(_WITHDRAW, (alert.id, json.dumps([reason.value for reason in reasons])))
    if count:
        transaction.execute(_UNHEARD, (alert.id,))
    return count > 0
