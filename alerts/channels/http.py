"""One request, for every channel that speaks HTTP: no redirect is followed, and each failure is classed.

What fails before the request is out is transient; once it is out and the answer is lost, nobody knows: ambiguous.
"""

import contextlib
import http.client
import ipaddress
import math
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Self
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, model_validator

from alerts.channels.channel import ChannelOptions, DeliveryError, Failure

TIMEOUT_SECONDS = 15
TOTAL_SECONDS = 45
LONGEST_ANSWER = 64 * 1024
LONGEST_SAYING = 200
_THROTTLED = frozenset({429, 503})
_AMBIGUOUS = frozenset({500, 502, 504})
"""What stands behind may have taken it."""
_REDIRECTS = range(300, 400)
_TRANSIENT = frozenset({408, 425})


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the status, and the first 64 kB."""

    status: int
    content: bytes


class HttpOptions(ChannelOptions):
    """What every channel has that speaks HTTP."""

    url: str
    plain_http: bool = Field(default=False, description="send it unencrypted: only inside a network that you trust")
    ca_file: str | None = Field(None, description="certificates to trust instead of the system's")

    @model_validator(mode="after")
    def _checked(self) -> Self:
        checked(self.url, plain_http=self.plain_http)
        return self


def checked(text: str, *, plain_http: bool = False) -> str:
    """Accept https, and http only to this machine or where that is wished: a signature hides nothing.

    ValueError quotes the URL: for one that is itself a secret there is `private`, at delivery.
    """
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
    if not plain_http and not private(text):
        raise ValueError(f'"{text}" would send alerts unencrypted; use https (or say plain_http = true)')
    return text


def private(url: str) -> bool:
    """Say whether nobody on the way can read what is sent there: https, or this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or _loopback(parts.hostname or "")


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked: where, with what, and whom we trust to answer."""

    url: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "POST"
    ca_file: str | None = None


def ask(request: Request) -> Answer:
    """Send it; return an answer of 2xx. DeliveryError, classed, for anything else; no error quotes the URL."""
    parts = urlsplit(request.url)
    connection = _connection(parts, request.ca_file)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.connect()
        _refuse_link_local(connection.sock.getpeername()[0])
    except OSError as error:
        raise DeliveryError(Failure.TRANSIENT, str(error) or type(error).__name__) from None
    try:
        with deadline(connection.sock, TOTAL_SECONDS):
            connection.request(request.method, path, request.body or None, dict(request.headers))
            answer = connection.getresponse()
            content = answer.read(LONGEST_ANSWER)
    except http.client.InvalidURL:
        raise DeliveryError(Failure.PERMANENT, "the URL has characters that no URL has") from None
    except (OSError, http.client.HTTPException) as error:
        raise DeliveryError(Failure.AMBIGUOUS, f"no answer: {str(error) or type(error).__name__}") from None
    finally:
        connection.close()
    if 200 <= answer.status < 300:  # noqa: PLR2004 - RFC 9110, 15.3
        return Answer(answer.status, content)
    raise _understand(answer.status, answer.getheader("Retry-After"), content)


def _refuse_link_local(address: str) -> None:
    """Speak to no link-local address, whatever name led there: that is where clouds keep their machines' secrets."""
    if ipaddress.ip_address(address.partition("%")[0]).is_link_local:
        raise DeliveryError(Failure.PERMANENT, "the URL leads to a link-local address")


@contextmanager
def deadline(way: socket.socket, seconds: float) -> Iterator[None]:
    """End a conversation that takes longer: limits for each read let one byte every few seconds go on for ever."""

    def hang_up() -> None:
        with contextlib.suppress(OSError):
            way.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, hang_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _connection(parts: SplitResult, ca_file: str | None) -> http.client.HTTPConnection:
    host = str(parts.hostname)
    if parts.scheme != "https":
        return http.client.HTTPConnection(host, parts.port, timeout=TIMEOUT_SECONDS)
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise DeliveryError(Failure.TRANSIENT, f"{ca_file}: {error.strerror or error}") from None
    return http.client.HTTPSConnection(host, parts.port, timeout=TIMEOUT_SECONDS, context=context)


def _understand(status: int, retry_after: str | None, content: bytes) -> DeliveryError:
    said = " ".join(content[:LONGEST_SAYING].decode("utf-8", "replace").split())
    reason = f"HTTP {status}{f': {said}' if said and not said.startswith('<') else ''}"
    if status in _THROTTLED:
        return DeliveryError(Failure.THROTTLED, reason, _seconds(retry_after), status)
    if status in _AMBIGUOUS:
        return DeliveryError(Failure.AMBIGUOUS, reason, _seconds(retry_after), status)
    if status >= 500 or status in _TRANSIENT:  # noqa: PLR2004 - RFC 9110, 15.6
        return DeliveryError(Failure.TRANSIENT, reason, status=status)
    redirect = " (redirects are not followed)" if status in _REDIRECTS else ""
    return DeliveryError(Failure.PERMANENT, reason + redirect, status=status)


def _seconds(retry_after: str | None) -> float | None:
    """Read Retry-After: seconds, or an HTTP date."""
    if retry_after is None:
        return None
    with contextlib.suppress(ValueError):
        seconds = float(retry_after)
        return seconds if 0 < seconds < math.inf else None
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return None
