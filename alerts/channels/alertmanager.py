"""Channel to Prometheus Alertmanager (API v2); open alerts are posted repeatedly, as it expects."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from pydantic import Field

from alerts.alert import Message, Notification, Receipt
from alerts.channels.channel import Sender, Traits
from alerts.channels.http import HttpOptions, Request, send

EVERY_SECONDS = 60.0
LASTING = timedelta(minutes=5)
"""Alerts end this long after their last post, for example when sereno has stopped."""


class Options(HttpOptions):
    """An Alertmanager; it groups and routes by its own rules."""

    type: Literal["alertmanager"]
    url: str = Field(examples=['"http://127.0.0.1:9093"'])

    @property
    def traits(self) -> Traits:
        """Return the properties of the channel."""
        return Traits(refresh_seconds=EVERY_SECONDS)


class Alertmanager:
    """Posts one Alertmanager alert per alert, identified by its labels."""

    def __init__(self, options: Options, _sender: Sender) -> None:
        self._options = options
        self.traits = options.traits

    def deliver(self, notification: Notification) -> Receipt:
        """Post the alert; a second copy has no effect."""
        self._send([notification.message])
        return Receipt("accepted")

    def refresh(self, messages: Sequence[Message]) -> None:
        """Post the open alerts again."""
        self._send(messages)

    def _send(self, messages: Sequence[Message]) -> None:
        now = datetime.now(UTC)
        body = json.dumps([posted(message, now) for message in messages], ensure_ascii=False)
        url = f"{self._options.url.rstrip('/')}/api/v2/alerts"
        headers = {"Content-Type": "application/json"}
        send(Request(url, body.encode("utf-8", "replace"), headers, ca_file=self._options.ca_file))


def posted(message: Message, now: datetime) -> dict[str, Any]:
    """Return one alert; its labels identify it and contain no severity, text or numbers."""
    ends = message.occurred_at if message.over else now + LASTING
    labels = {
        "alertname": message.kind,
        "severity": message.severity.value,
        "sereno": message.instance,
        "database": message.database,
        "object": message.object,
        "task": message.task,
    }
    annotations = {
        "summary": f"{message.title}: {message.summary}",
        "remedy": message.remedy,
        "acknowledged_by": message.acknowledged_by,
        "fingerprint": message.fingerprint,
        "alert": str(message.alert or ""),
    }
    return {
        "labels": {name: value for name, value in labels.items() if value},
        "annotations": {name: value for name, value in annotations.items() if value},
        "startsAt": _written(message.opened_at or message.occurred_at),
        "endsAt": _written(ends),
    }


def _written(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
