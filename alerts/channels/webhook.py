"""Channel to a ticket system by webhook, signed as in Standard Webhooks 1.0."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import quote

from pydantic import Field, model_validator

from alerts.alert import Message, Notification, Reason, Receipt
from alerts.channels.channel import DeliveryError, Failure, Sender, Traits, reveal_secret
from alerts.channels.http import LONGEST_ANSWER, HttpOptions, Request, check_url, send
from domain.finding import Severity
from domain.secret import Secret
from store.timestamps import to_text

if TYPE_CHECKING:
    from jinja2 import Environment, Template

LONGEST = 20_000
"""The recommended maximum of a body in Standard Webhooks, in bytes."""
LONGEST_DETAIL = 200
GONE = frozenset({404, 410})
_TYPES = {
    Reason.RESOLVED: "alert.resolved",
    Reason.ACKNOWLEDGED: "alert.acknowledged",
    Reason.REPORT: "report",
    Reason.CHANNEL_TEST: "channel_test",
}
_KEYS = ("key", "id", "number")
_HARD = 'a "quote" \\ and\na line'
_SAMPLE = Notification(
    id="0" * 32,
    channel="sample",
    message=Message(
        instance="sample",
        severity=Severity.HIGH,
        reason=Reason.OPENED,
        kind="sample",
        type="CHECK_FINDING",
        title=_HARD,
        summary=_HARD,
        database=_HARD,
        object=_HARD,
        remedy=_HARD,
        occurred_at=datetime(2026, 1, 1, tzinfo=UTC),
        alert=1,
    ),
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
)
"""Used to try a template when it is loaded: a quote in a name must not break it at night."""


class Options(HttpOptions):
    """A ticket system that accepts JSON."""

    type: Literal["webhook"]
    url: str = Field(examples=['"https://tickets.example.org/api/incidents"'])
    update_url: str = Field(
        "", description="The address that changes an existing ticket, with {ticket} for its key."
    )
    update_method: Literal["POST", "PUT", "PATCH"] = "POST"
    key: str = Field(
        "", description='The path of the ticket\'s key in the answer, like "result.number".'
    )
    body: str = Field(
        "",
        description="A Jinja2 template for the body, like '{\"title\": {{ message | tojson }}}'.",
    )
    secret: Secret | None = Field(
        None,
        description="whsec_… signs each message (Standard Webhooks).",
        examples=['{ credential = "ticket-secret" }'],
    )
    token: Secret | None = Field(None, description="Sent as Authorization: Bearer.")

    @model_validator(mode="after")
    def _readable(self) -> Self:
        if self.update_url:
            check_url(self.update_url.replace("{ticket}", "x"), plain_http=self.plain_http)
        if self.body:
            _names_known(self.body)
            try:
                _filled(self.body, _sample())
            except DeliveryError as error:
                raise ValueError(str(error)) from None
        return self

    def warnings(self) -> Iterator[tuple[str, str]]:
        """Warn if the update address does not identify the ticket."""
        if self.update_url and "{ticket}" not in self.update_url:
            yield "update_url", "does not contain {ticket}; only the body identifies the ticket"

    @property
    def traits(self) -> Traits:
        """Return the properties of the channel."""
        return Traits(wants_acknowledgements=True)


class Webhook:
    """Sends one request per message; redirects are not followed."""

    def __init__(self, options: Options, sender: Sender) -> None:
        self._options = options
        self.traits = options.traits
        self._agent = f"sereno ({sender.instance})".encode("ascii", "replace").decode()

    def deliver(self, notification: Notification) -> Receipt:
        """Send the message; the ticket's key from the answer is the remote id."""
        options = self._options
        body = self._body(notification)
        url, method = options.url, "POST"
        if notification.thread and options.update_url:
            url = options.update_url.replace("{ticket}", quote(notification.thread, safe=""))
            method = options.update_method
        headers = self._headers(notification, body)
        try:
            answer = send(Request(url, body, headers, method, options.ca_file))
        except DeliveryError as error:
            if error.status not in GONE or url == options.url:
                raise
            made = self.deliver(replace(notification, thread=""))  # the ticket was deleted
            return replace(made, replaced=True)
        key = find_key(answer.content, options.key) or notification.thread
        words = f", ticket {key}" if key else ""
        if not key and len(answer.content) == LONGEST_ANSWER:
            words = (
                f"; the answer is longer than {LONGEST_ANSWER} bytes: the ticket's key is unknown"
            )
        return Receipt(f"HTTP {answer.status}{words}", remote=key)

    def _body(self, notification: Notification) -> bytes:
        if self._options.body:
            return _filled(self._options.body, _values(notification))
        values = payload(notification)
        body = json.dumps(values, ensure_ascii=False).encode("utf-8", "replace")
        if len(body) > LONGEST:
            values["data"]["details"] = {
                name: text[:LONGEST_DETAIL] for name, text in values["data"]["details"].items()
            }
            body = json.dumps(values, ensure_ascii=False).encode("utf-8", "replace")
        return body

    def _headers(self, notification: Notification, body: bytes) -> dict[str, str]:
        timestamp = int(time.time())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": self._agent,
            "Idempotency-Key": notification.id,
            "webhook-id": notification.id,
            "webhook-timestamp": str(timestamp),
        }
        if self._options.secret is not None:
            secret = reveal_secret(self._options.secret)
            headers["webhook-signature"] = sign(secret, notification.id, timestamp, body)
        if self._options.token is not None:
            headers["Authorization"] = f"Bearer {reveal_secret(self._options.token)}"
        return headers


def payload(notification: Notification) -> dict[str, Any]:
    """Return the body, in the fields that ticket systems know."""
    message = notification.message
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
            "state": _state(message),
            "reason": message.reason.value,
            "kind": message.kind,
            "database": message.database,
            "object": message.object,
            "remedy": message.remedy,
            "fingerprint": message.fingerprint,
            "acknowledgedBy": message.acknowledged_by or None,
            "alert": message.alert,
            "generation": message.generation,
            "instance": message.instance,
            "url": message.url or None,
            "ticket": notification.thread or None,
        },
    }


def _state(message: Message) -> str:
    if message.over:
        return "resolved"
    if message.reason is Reason.ACKNOWLEDGED:
        return "acknowledged"
    return "firing"


def sign(secret: str, number: str, timestamp: int, body: bytes) -> str:
    """Sign `id.timestamp.body` with HMAC-SHA256; a secret is `whsec_` and base64, or raw bytes.

    Raises DeliveryError (transient) if it is not base64.
    """
    try:
        key = (
            base64.b64decode(secret.removeprefix("whsec_"))
            if secret.startswith("whsec_")
            else secret.encode()
        )
    except ValueError:
        raise DeliveryError(
            Failure.TRANSIENT, "secret: the text after whsec_ is not base64"
        ) from None
    content = f"{number}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


def find_key(content: bytes, path: str) -> str:
    """Return the ticket's key from the answer: at the configured path, else by usual names."""
    try:
        found = json.loads(content)
    except ValueError:
        return ""
    for name in path.split(".") if path else ():
        found = found.get(name) if isinstance(found, dict) else None
    if not path:
        found = (
            next((found[name] for name in _KEYS if found.get(name)), "")
            if isinstance(found, dict)
            else ""
        )
    if isinstance(found, str | int) and not isinstance(found, bool):
        return str(found)
    return ""


def _values(notification: Notification) -> dict[str, Any]:
    """Return the values that a template may use."""
    values = payload(notification)
    return {"id": notification.id, **values["data"], "event": values["type"]}


class _Details(dict[str, str]):
    """A mapping in which every detail exists."""

    def __missing__(self, _name: str) -> str:
        return _HARD


def _sample() -> dict[str, Any]:
    return _values(_SAMPLE) | {"details": _Details({"first seen": _HARD})}


def _environment() -> "Environment":
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    return ImmutableSandboxedEnvironment(undefined=StrictUndefined)


def _template(text: str) -> "Template":
    """Parse a template in Jinja2's sandbox. Raises ValueError."""
    from jinja2 import TemplateError

    try:
        return _environment().from_string(text)
    except TemplateError as error:
        raise ValueError(f"body is not a template: {error}") from None


def _names_known(text: str) -> None:
    """Raise ValueError if a template uses an unknown name."""
    from jinja2.meta import find_undeclared_variables

    _template(text)
    known = _sample().keys()
    for name in sorted(find_undeclared_variables(_environment().parse(text)) - known):
        raise ValueError(f"body: {name!r} is unknown (known: {', '.join(sorted(known))})")


def _filled(text: str, values: dict[str, Any]) -> bytes:
    """Fill a template. Raises DeliveryError unless the result is JSON."""
    from jinja2 import TemplateError

    try:
        body = _template(text).render(values)
        json.loads(body)
    except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise DeliveryError(
            Failure.PERMANENT, f"body does not render to JSON (use | tojson): {error}"
        ) from None
    return body.encode("utf-8", "replace")
