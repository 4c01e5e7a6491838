"""One POST, for every channel that speaks HTTP: no redirect is followed, and each failure is classed.

What fails before the request is out is transient; once it is out and the answer is lost, nobody knows: ambiguous.
"""

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import SplitResult, urlsplit

from alerts.channels.channel import DeliveryError, Failure

TIMEOUT_SECONDS = 15
TOTAL_SECONDS = 45
LONGEST_ANSWER = 64 * 1024
_THROTTLED = frozenset({429, 502, 503, 504})
_REDIRECTS = range(300, 400)
_TRANSIENT = frozenset({408, 425})


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the status, and the first 64 kB."""

    status: int
    content: bytes


def checked(text: str) -> str:
    """Accept https, and http only to this machine: a signature proves who spoke, it hides nothing.

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
    if not private(text):
        raise ValueError(f'"{text}" would send alerts unencrypted; use https')
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


def post(url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
    """Send it; return an answer of 2xx. DeliveryError, classed, for anything else; no error quotes the URL."""
    parts = urlsplit(url)
    connection = _connection(parts)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.connect()
    except OSError as error:
        raise DeliveryError(Failure.TRANSIENT, str(error) or type(error).__name__) from None
    try:
        with deadline(connection.sock, TOTAL_SECONDS):
            connection.request("POST", path, body, dict(headers))
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
    raise _understand(answer.status, answer.getheader("Retry-After"))


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


def _connection(parts: SplitResult) -> http.client.HTTPConnection:
    host = str(parts.hostname)
    if parts.scheme == "https":
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(host, parts.port, timeout=TIMEOUT_SECONDS, context=context)
    return http.client.HTTPConnection(host, parts.port, timeout=TIMEOUT_SECONDS)


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
