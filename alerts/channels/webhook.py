"""A ticket system by webhook: signed and numbered as Standard Webhooks 1.0 asks, so that copies can be told apart."""

import base64
import hashlib
import hmac
import http.client
import ipaddress
import json
import ssl
import time
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from alerts.alert import Notification, Reason, Receipt
from alerts.channels.channel import ChannelOptions, DeliveryError, Failure, Sender
from alerts.secret import Secret, SecretError
from store.instant import to_text

TIMEOUT_SECONDS = 15
LONGEST_ANSWER = 64 * 1024
_THROTTLED = frozenset({429, 502, 503, 504})
_REDIRECTS = range(300, 400)
_TRANSIENT = frozenset({408, 425})
_TYPES = {Reason.RESOLVED: "alert.resolved", Reason.REPORT: "report"}


def _url(text: str) -> str:
    """Accept https, and http only to this machine: the signature proves who spoke, it hides nothing."""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise ValueError(f'"{text}" is not a URL (like "https://tickets.example.org/api/incidents")') from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f'"{text}" is not a URL (like "https://tickets.example.org/api/incidents")')
    if parts.username or parts.password:
        message = "put no password into the URL; it would be shown"
        raise ValueError(message)
    if parts.scheme == "http" and not _loopback(parts.hostname):
        raise ValueError(f'"{text}" would send alerts unencrypted; use https')
    return text


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Options(ChannelOptions):
    """Where tickets are made."""

    type: Literal["webhook"]
    url: Annotated[str, AfterValidator(_url)] = Field(examples=['"https://tickets.example.org/api/incidents"'])
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
        headers = self._headers(notification, body)
        parts = urlsplit(self._options.url)
        connection = self._connection(parts.scheme, str(parts.hostname), parts.port)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            connection.connect()
        except OSError as error:
            raise DeliveryError(Failure.TRANSIENT, str(error) or type(error).__name__) from None
        try:
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            content = answer.read(LONGEST_ANSWER)
        except (OSError, http.client.HTTPException) as error:
            raise DeliveryError(Failure.AMBIGUOUS, f"no answer: {str(error) or type(error).__name__}") from None
        finally:
            connection.close()
        if 200 <= answer.status < 300:  # noqa: PLR2004 - RFC 9110, 15.3
            key = _key(content)
            return Receipt(f"HTTP {answer.status}" + (f", ticket {key}" if key else ""), remote=key)
        raise _understand(answer.status, answer.getheader("Retry-After"))

    def _connection(self, scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
        if scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(host, port, timeout=TIMEOUT_SECONDS, context=context)
        return http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)

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


def _understand(status: int, retry_after: str | None) -> DeliveryError:
    reason = f"HTTP {status}"
    if status in _THROTTLED:
        return DeliveryError(Failure.THROTTLED, reason, _seconds(retry_after))
    if status >= 500 or status in _TRANSIENT:  # noqa: PLR2004 - RFC 9110, 15.6
        return DeliveryError(Failure.TRANSIENT, reason)
    redirect = " (redirects are not followed)" if status in _REDIRECTS else ""
    return DeliveryError(Failure.PERMANENT, reason + redirect)


def _seconds(retry_after: str | None) -> float | None:
    """Read Retry-After: seconds, or an HTTP date."""
    if retry_after is None:
        return None
    try:
        return float(retry_after)
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return None
