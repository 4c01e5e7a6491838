"""The checks that come before any handler: host, size of the body, principal and right."""

import base64
import binascii
import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from fastapi import Depends, Request

from daemon.config.values import split_address
from daemon.config.web import Right, Web
from daemon.principals import has_right, principal_of_token
from daemon.web.problems import CONTENT_TYPE, ProblemError
from daemon.web.sessions import COOKIE, Session, Sessions

MOST_BODY_BYTES = 65_536
_HOST = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9.-]+))(?::[0-9]{1,5})?")
READER = "local"
"""The name of an anonymous reader on the loopback interface."""
_POLICY = (
    b"default-src 'none'; style-src 'self'; img-src 'self'; script-src 'self'; "
    b"connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
_HEADERS = (
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Guard:
    """The outermost layer: refuses foreign hosts and large bodies, adds headers to answers."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], web: Web) -> None:
        self._app, self._hosts = app, allowed_hosts(web)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it here."""
        if scope["type"] != "http":
            return
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        length = headers.get(b"content-length", b"0")

        async def send_headed(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                own = {name.lower() for name, _ in message["headers"]}
                added = [one for one in _HEADERS if one[0] not in own]
                message["headers"] = [*message["headers"], *added]
            await send(message)

        named = _HOST.fullmatch(host)
        if named is None or (named["six"] or named["name"]).lower() not in self._hosts:
            await _refuse(send_headed, 400, "bad_host", "this Host is not one of sereno's")
        elif not length.isdigit() or int(length) > MOST_BODY_BYTES:
            await _too_large(send_headed)
        else:
            await self._bounded(scope, receive, send_headed)

    async def _bounded(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the whole body, which may come without a length, before the application does."""
        body, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > MOST_BODY_BYTES:
                await _too_large(send)
                return
        whole = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def receive_whole() -> MutableMapping[str, Any]:
            return whole.pop() if whole else await receive()

        await self._app(scope, receive_whole, send)


async def _too_large(send: Send) -> None:
    await _refuse(send, 413, "too_large", f"a body has at most {MOST_BODY_BYTES} bytes")


async def _refuse(send: Send, status: int, code: str, detail: str) -> None:
    values = {"type": "about:blank", "status": status, "code": code, "detail": detail}
    body = json.dumps(values | {"missing": []}).encode()
    headers = [(b"content-type", CONTENT_TYPE.encode()), (b"connection", b"close"),
               (b"content-length", str(len(body)).encode())]  # fmt: skip
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def allowed_hosts(web: Web) -> frozenset[str | None]:
    """Return the host names that requests may name."""
    host = split_address(web.listen)[0]
    names = {host, urlsplit(web.public_url).hostname}
    if web.is_local:
        names |= {"localhost", "127.0.0.1", "::1"}
    return frozenset(names - {None, "", "0.0.0.0", "::"})  # noqa: S104 - no host is called so


def require(web: Web, request: Request, right: Right) -> str:
    """Return the principal of a request. Raises ProblemError 401 or 403.

    Without a principal, reading is open on a loopback interface that no proxy stands in front of.
    """
    token = _token(request)
    name = principal_of_token(web, token) if token else _known_otherwise(web, request)
    if name is not None:
        if not has_right(web, name, right):
            raise ProblemError(403, "forbidden", f"{name} lacks the right {right}", [right])
        return name
    is_open = web.is_local and not web.behind_tls and not web.public_url
    if right == "read" and is_open and not token:
        return READER
    if not web.principals:
        raise ProblemError(403, "forbidden", "no principal is configured: reading only", [right])
    raise ProblemError(401, "unauthenticated", "a bearer token of a principal is needed", [right])


def principal_with(web: Web, right: Right) -> Any:  # noqa: ANN401 - of FastAPI
    """Return a dependency: the principal, known before the body is looked at."""

    def known(request: Request) -> str:
        return require(web, request, right)

    return Depends(known)


def session_of(request: Request) -> Session | None:
    """Return the session of the cookie of a request; None if there is none, or it has ended."""
    sessions: Sessions = request.app.state.sessions
    cookie = request.cookies.get(COOKIE)
    return sessions.read(cookie) if cookie else None


def proxied(web: Web, request: Request) -> str | None:
    """Return the principal that a listed proxy names; None from any other address."""
    name = request.headers.get(web.proxy_header)
    address = request.client.host if request.client else ""
    return name if name in web.principals and address in web.proxies else None


def _known_otherwise(web: Web, request: Request) -> str | None:
    """Return the principal of a cookie, or of a proxy's header, for a request that only reads.

    Both are sent by a browser whatever page asks: what changes anything needs a form's token.
    """
    if request.method not in {"GET", "HEAD"}:
        return None
    session = session_of(request)
    return session.principal if session is not None else proxied(web, request)


def _token(request: Request) -> str:
    """Return the token of a request; a browser may send it as a password to read."""
    kind, _, value = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return value.strip()
    if kind.lower() == "basic" and request.method in {"GET", "HEAD"}:
        try:
            decoded = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return "?"
        return decoded.partition(":")[2] or "?"
    return "?" if kind else ""
