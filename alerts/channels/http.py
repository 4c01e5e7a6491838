"""One HTTP request for every channel: no redirects, failures classified.

A failure before the request is sent is transient; a lost answer after that is ambiguous.
"""

import contextlib
import http.client
import ipaddress
import math
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Self
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, model_validator

from alerts.channels.bounds import deadline
from alerts.channels.channel import ChannelOptions, DeliveryError, Failure, error_words

TIMEOUT_SECONDS = 15
TOTAL_SECONDS = 45
LONGEST_ANSWER = 1024**2
"""Bytes of an answer that are read; a ticket system may return the whole ticket."""
LONGEST_EXCERPT = 200
_THROTTLED = frozenset({429, 503})
_AMBIGUOUS = frozenset({500, 502, 504})
"""The status of a gateway whose backend may have accepted the request."""
_CHANNEL = frozenset({401, 402, 403, 407, 409})
"""Refusals that are not about the message: credentials, payment, rights, a conflict of state."""
_REDIRECTS = range(300, 400)
_TRANSIENT = frozenset({408, 425})


@dataclass(frozen=True, slots=True)
class Answer:
    """The status and the first 64 kB of an answer."""

    status: int
    content: bytes


class HttpOptions(ChannelOptions):
    """Options of the channels that use HTTP."""

    url: str
    plain_http: bool = Field(
        default=False, description="Allow unencrypted http; only inside a trusted network."
    )
    ca_file: str | None = Field(None, description="Certificates to trust instead of the system's.")

    @model_validator(mode="after")
    def _checked(self) -> Self:
        check_url(self.url, plain_http=self.plain_http)
        return self


def check_url(text: str, *, plain_http: bool = False) -> str:
    """Accept https, and http to this machine or with `plain_http`: a signature does not encrypt.

    Raises ValueError quoting the URL; for secret URLs `is_private` is used at delivery.
    """
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise ValueError(
            f'"{text}" is not a URL (like "https://tickets.example.org/api/incidents")'
        ) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(
            f'"{text}" is not a URL (like "https://tickets.example.org/api/incidents")'
        )
    if parts.username or parts.password:
        message = "the URL must not contain a password, which would be displayed"
        raise ValueError(message)
    if not plain_http and not is_private(text):
        raise ValueError(
            f'"{text}" would send alerts unencrypted; use https (or set plain_http = true)'
        )
    return text


def is_private(url: str) -> bool:
    """Return whether nobody on the way can read the request: https, or this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or _loopback(parts.hostname or "")


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True, slots=True)
class Request:
    """A request and the CA file to verify the answer."""

    url: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "POST"
    ca_file: str | None = None


def send(request: Request) -> Answer:
    """Send a request; return an answer of 2xx. Raises DeliveryError; no error quotes the URL."""
    parts = urlsplit(request.url)
    tls = _trust(request.ca_file) if parts.scheme == "https" else None
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    sent = False
    connection = _connection(parts, tls)
    try:
        plain = socket.create_connection((connection.host, connection.port), TIMEOUT_SECONDS)
        with deadline(plain, TOTAL_SECONDS):
            connection.sock = plain
            _refuse_link_local(plain.getpeername()[0])
            if tls is not None:
                connection.sock = tls.wrap_socket(plain, server_hostname=connection.host)
            sent = True
            connection.request(request.method, path, request.body or None, dict(request.headers))
            answer = connection.getresponse()
            content = answer.read(LONGEST_ANSWER)
    except http.client.InvalidURL:
        raise DeliveryError(
            Failure.PERMANENT, "the URL contains characters that are not allowed in a URL"
        ) from None
    except (OSError, http.client.HTTPException) as error:
        reason = f"{connection.host}:{connection.port}: {error_words(error)}"
        if not sent:
            raise DeliveryError(Failure.TRANSIENT, reason) from None
        raise DeliveryError(Failure.AMBIGUOUS, f"no answer: {reason}") from None
    finally:
        connection.close()
    if 200 <= answer.status < 300:  # noqa: PLR2004 - RFC 9110, 15.3
        return Answer(answer.status, content)
    raise _understand(answer.status, answer.getheader("Retry-After"), content)


def _refuse_link_local(address: str) -> None:
    """Refuse link-local addresses, whatever name led there: clouds serve machine secrets there."""
    if ipaddress.ip_address(address.partition("%")[0]).is_link_local:
        raise DeliveryError(Failure.PERMANENT, "the URL leads to a link-local address")


def _trust(ca_file: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise DeliveryError(Failure.TRANSIENT, f"{ca_file}: {error.strerror or error}") from None


def _connection(parts: SplitResult, tls: ssl.SSLContext | None) -> http.client.HTTPConnection:
    host = str(parts.hostname)
    if tls is None:
        return http.client.HTTPConnection(host, parts.port)
    return http.client.HTTPSConnection(host, parts.port, context=tls)


def _understand(status: int, retry_after: str | None, content: bytes) -> DeliveryError:
    excerpt = " ".join(content[:LONGEST_EXCERPT].decode("utf-8", "replace").split())
    is_text = excerpt and not excerpt.startswith("<")
    reason = f"HTTP {status}{f': {excerpt}' if is_text else ''}"
    if status in _THROTTLED:
        return DeliveryError(Failure.THROTTLED, reason, _seconds(retry_after), status)
    if status in _AMBIGUOUS:
        return DeliveryError(Failure.AMBIGUOUS, reason, _seconds(retry_after), status)
    if status in _CHANNEL:
        return DeliveryError(Failure.CHANNEL, reason, status=status)
    if status >= 500 or status in _TRANSIENT:  # noqa: PLR2004 - RFC 9110, 15.6
        return DeliveryError(Failure.TRANSIENT, reason, status=status)
    redirect = ""
    if status in _REDIRECTS:
        redirect = " (redirects are not followed)"
    return DeliveryError(Failure.PERMANENT, reason + redirect, status=status)


def _seconds(retry_after: str | None) -> float | None:
    """Parse Retry-After: seconds or an HTTP date."""
    if retry_after is None:
        return None
    with contextlib.suppress(ValueError):
        seconds = float(retry_after)
        if 0 < seconds < math.inf:
            return seconds
        return None
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return None
