"""A ticket system by webhook: signed and numbered as Standard Webhooks 1.0 asks, so that copies can be told apart."""

import base64
import hashlib
import hmac
import json
import time
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from alerts.alert import Notification, Reason, Receipt
from alerts.channels.channel import ChannelOptions, DeliveryError, Failure, Sender
from alerts.channels.post import checked, post
from alerts.secret import Secret, SecretError
from store.instant import to_text

_TYPES = {Reason.RESOLVED: "alert.resolved", Reason.REPORT: "report"}


class Options(ChannelOptions):
    """Where tickets are made."""

    type: Literal["webhook"]
    url: Annotated[str, AfterValidator(checked)] = Field(examples=['"https://tickets.example.org/api/incidents"'])
    secret: Secret | None = Field(
        None,
        description="whsec_… signs each message (Standard Webhooks)",
        examples=['{ credential = "ticket-secret" }'],
    )
    token: Secret | None = Field(None, description="sent as Authorization: Bearer")


class Webhook:
    """One POST a message; no redirect is followed."""

    def __init__(self, options: Options, sender: Sender) -> None:
        self._options = options
        self._agent = f"sereno ({sender.instance})".encode("ascii", "replace").decode()

    def deliver(self, notification: Notification) -> Receipt:
        """Post it; the ticket's key, if the answer has one, is its name from then on."""
        body = json.dumps(payload(notification), ensure_ascii=False).encode("utf-8", "replace")
        answer = post(self._options.url, body, self._headers(notification, body))
        key = _key(answer.content)
        return Receipt(f"HTTP {answer.status}" + (f", ticket {key}" if key else ""), remote=key)

    def _headers(self, notification: Notification, body: bytes) -> dict[str, str]:
        timestamp = int(time.time())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": self._agent,
            "Idempotency-Key": notification.id,
            "webhook-id": notification.id,
            "webhook-timestamp": str(timestamp),
        }
        try:
            if self._options.secret is not None:
                secret = self._options.secret.reveal()
                headers["webhook-signature"] = sign(secret, notification.id, timestamp, body)
            if self._options.token is not None:
                headers["Authorization"] = f"Bearer {self._options.token.reveal()}"
        except SecretError as error:
            raise DeliveryError(Failure.TRANSIENT, str(error)) from None
        return headers


def payload(notification: Notification) -> dict[str, Any]:
    """Build the body; severity, type, message, details, timestamp and actionRequired as ticket systems know them."""
    message = notification.message
    resolved = message.reason is Reason.RESOLVED
    return {
        "type": _TYPES.get(message.reason, "alert.firing"),
        "timestamp": to_text(message.occurred_at),
        "data": {
            "severity": message.severity.value.upper(),
            "type": message.type,
            "message": f"{message.title}: {message.summary}",
            "details": dict(message.details),
            "timestamp": to_text(message.occurred_at),
            "actionRequired": message.action_required,
            "state": "resolved" if resolved else "firing",
            "reason": message.reason.value,
            "kind": message.kind,
            "database": message.database,
            "object": message.object,
            "remedy": message.remedy,
            "fingerprint": message.fingerprint,
            "alert": message.alert,
            "instance": message.instance,
            "ticket": notification.thread or None,
        },
    }


def sign(secret: str, number: str, timestamp: int, body: bytes) -> str:
    """Sign `id.timestamp.body` by HMAC-SHA256; a secret is `whsec_` and base64, or its raw bytes."""
    key = base64.b64decode(secret.removeprefix("whsec_")) if secret.startswith("whsec_") else secret.encode()
    content = f"{number}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


def _key(content: bytes) -> str:
    """Find the ticket's key in the answer."""
    try:
        answer = json.loads(content)
    except ValueError:
        return ""
    if not isinstance(answer, dict):
        return ""
    return str(next((answer[name] for name in ("key", "id", "number") if answer.get(name)), ""))
