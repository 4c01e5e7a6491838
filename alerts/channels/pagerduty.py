"""Channel to PagerDuty, Events API v2: one incident per fingerprint."""

import json
from typing import Any, Literal

from pydantic import Field

from alerts.alert import Message, Notification, Reason, Receipt
from alerts.channels.channel import DeliveryError, Sender, Traits, reveal_secret
from alerts.channels.http import HttpOptions, Request, send
from alerts.wording import severity_wording
from domain.secret import Secret
from store.timestamps import to_text

LONGEST_SUMMARY = 1024


class Options(HttpOptions):
    """A PagerDuty service, by its integration key."""

    type: Literal["pagerduty"]
    routing_key: Secret = Field(examples=['{ credential = "pagerduty-key" }'])
    url: str = Field(
        "https://events.pagerduty.com/v2/enqueue", description="Only for tests and proxies."
    )

    @property
    def traits(self) -> Traits:
        """Return the properties of the channel."""
        return Traits(wants_acknowledgements=True, interval_seconds=0.5)


class PagerDuty:
    """Sends one event per message; events of a fingerprint form one incident."""

    def __init__(self, options: Options, _sender: Sender) -> None:
        self._options = options
        self.traits = options.traits

    def deliver(self, notification: Notification) -> Receipt:
        """Send the event; the dedup key is the remote id.

        A channel test is triggered and resolved at once.
        """
        key = notification.message.fingerprint or notification.id
        self._send(event(notification.message, key))
        if notification.message.reason is Reason.CHANNEL_TEST:
            self._send({"event_action": "resolve", "dedup_key": key})
        return Receipt(f"accepted as {key}", remote=key)

    def _send(self, fields: dict[str, Any]) -> None:
        key = reveal_secret(self._options.routing_key)
        body = json.dumps({"routing_key": key, **fields}, ensure_ascii=False).encode(
            "utf-8", "replace"
        )
        try:
            send(
                Request(
                    self._options.url,
                    body,
                    {"Content-Type": "application/json"},
                    ca_file=self._options.ca_file,
                )
            )
        except DeliveryError as error:
            error.args = (str(error).replace(key, "***"),)
            raise


def event(message: Message, key: str) -> dict[str, Any]:
    """Return the event within the API's limits."""
    if message.over:
        return {"event_action": "resolve", "dedup_key": key}
    if message.reason is Reason.ACKNOWLEDGED:
        return {"event_action": "acknowledge", "dedup_key": key}
    return {
        "event_action": "trigger",
        "dedup_key": key,
        "client": f"sereno ({message.instance})",
        "payload": {
            "summary": f"{message.title}: {message.summary}"[:LONGEST_SUMMARY],
            "source": " ".join(part for part in (message.instance, message.database) if part),
            "severity": severity_wording(message.severity).level,
            "timestamp": to_text(message.occurred_at),
            "component": message.object,
            "group": message.database,
            "class": message.kind,
            "custom_details": {
                "remedy": message.remedy,
                "reason": message.reason.value,
                "acknowledge": f"sereno alerts ack {message.alert}",
                **message.details,
            },
        },
    }
