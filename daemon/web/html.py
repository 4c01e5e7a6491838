"""Pages: the templates, their common values, the forms and the principals of people."""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache, partial
from importlib import resources
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit
from zoneinfo import ZoneInfo

from fastapi import Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, FunctionLoader, StrictUndefined

from alerts.catalogue import TONGUES, Tongue, said
from alerts.wording import severity_colours
from daemon.config.web import Right, Web
from daemon.history.audit import Entry
from daemon.principals import has_right
from daemon.web.guard import proxied, require, session_of
from daemon.web.kept import KeptAnswers
from daemon.web.parts import Parts
from daemon.web.problems import ProblemError
from daemon.web.sessions import Session, Sessions
from domain.redaction import redact
from domain.units import format_seconds, format_size
from store.timestamps import from_text

SIGN_IN = "/sign-in"
MOST_FIELDS = 40
LONGEST_LANGUAGES = 200
_PATH = re.compile(r"/(?!/)[A-Za-z0-9/_.%=&?-]*")
TOLD = {
    "acknowledged": "Acknowledged; the channels are being notified.",
    "silenced": "Silenced; a resolution is still notified.",
    "resolved": "Resolved; the channels are being notified.",
    "ignored": "Ignored from the next run on, in this place only.",
}
"""What the page says after a form, by `done` in its address."""
SUCCESS, SEE_OTHER = 200, 303
UNAUTHENTICATED, FORBIDDEN, NOT_FOUND = 401, 403, 404


@dataclass(frozen=True, slots=True)
class Form:
    """A form that a principal with the right for it has sent."""

    principal: str
    address: str
    values: Mapping[str, str]

    def value(self, name: str, longest: int = 500) -> str:
        """Return a field without surrounding space. Raises ProblemError 422 for a long one."""
        text = self.values.get(name, "").strip()
        if len(text) > longest:
            raise ProblemError(422, "invalid", f"{name}: at most {longest} characters", [name])
        return text

    def entry(self, action: str, subject: str, detail: str = "") -> Entry:
        """Return the entry of the audit log for the action of the form."""
        return Entry(self.principal, self.address, action, subject, detail)


def form_with(parts: Parts, right: Right) -> Any:  # noqa: ANN401 - of FastAPI
    """Return a dependency: a form with its token, of a principal that has the right.

    Raises ProblemError 401 without a principal, 403 without the right or the form's token.
    """
    web = parts.context.config.web

    async def read(request: Request) -> Form:
        values = _parsed(await request.body())
        session = session_of(request) or _of_proxy(web, request)
        sessions: Sessions = request.app.state.sessions
        if session is None:
            raise ProblemError(UNAUTHENTICATED, "unauthenticated", "sign in first", [right])
        if not sessions.is_form_token(session, values.get("form_token", "")):
            raise ProblemError(
                FORBIDDEN, "form_token", "the form is from another sign-in: load the page again"
            )
        if not has_right(web, session.principal, right):
            raise ProblemError(
                FORBIDDEN, "forbidden", f"{session.principal} lacks the right {right}", [right]
            )
        return Form(session.principal, address_of(request), values)

    return Depends(read)


async def plain_form(request: Request) -> Mapping[str, str]:
    """Return the fields of a form that needs no principal, as that of the sign-in."""
    return _parsed(await request.body())


def _parsed(body: bytes) -> Mapping[str, str]:
    try:
        fields = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        raise ProblemError(400, "bad_form", "the form is not UTF-8, or too large") from None
    return {name: values[-1] for name, values in fields.items()}


def _of_proxy(web: Web, request: Request) -> Session | None:
    """Return the session of a principal that a listed proxy names."""
    name = proxied(web, request)
    return Session(name, "proxy") if name is not None else None


def address_of(request: Request) -> str:
    """Return the address of the client."""
    return request.client.host if request.client else ""


def safe_path(text: str) -> str:
    """Return a path of this server to go to; the first page for anything else."""
    return text if _PATH.fullmatch(text) and "\\" not in text else "/"


def tongue_of(request: Request) -> Tongue:
    """Return the first language that a browser names, of those there are."""
    for wanted in request.headers.get("accept-language", "")[:LONGEST_LANGUAGES].split(","):
        name = wanted.strip().lower()[:2]
        for tongue in TONGUES:
            if name == tongue:
                return tongue
    return "en"


def problem_page(parts: Parts, request: Request, error: ProblemError) -> Response:
    """Return the page about an error, with a link to the page that sent the form.

    Without a principal it is the way to the sign-in, and back.
    """
    back = safe_path(urlsplit(request.headers.get("referer", "")).path)
    if error.status == UNAUTHENTICATED:
        return RedirectResponse(f"{SIGN_IN}?next={quote(back)}", SEE_OTHER)
    lost = error.status == NOT_FOUND
    return render(
        parts,
        request,
        "problem.html",
        status=error.status,
        detail=error.detail,
        back=back,
        lost=lost,
    )


def page_router(parts: Parts, path: str, show: Callable[[Request], Response]) -> Any:  # noqa: ANN401
    """Return a handler of a page: it asks to sign in where reading needs a principal."""
    web = parts.context.config.web

    def handler(request: Request) -> Response:
        try:
            require(web, request, "read")
        except ProblemError as error:
            if error.status != UNAUTHENTICATED:
                raise
            target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            return RedirectResponse(f"{SIGN_IN}?next={quote(safe_path(target))}", SEE_OTHER)
        session = session_of(request) or _of_proxy(web, request)
        wanted = request.headers.get("if-none-match")
        question = (request.url.path, request.url.query, session, tongue_of(request), wanted)
        kept: KeptAnswers = request.app.state.kept
        return kept.answer(question, lambda: show(request))

    handler.__name__ = path.strip("/").replace("/", "_") or "start"
    return handler


def render(
    parts: Parts, request: Request, template: str, *, status: int = 200, **values: object
) -> Response:
    """Return a page with its principal, the time zone and the problems of the service."""
    web, zone = parts.context.config.web, ZoneInfo(parts.context.config.daemon.timezone)
    session = session_of(request) or _of_proxy(web, request)
    sessions: Sessions = request.app.state.sessions

    def may(right: Right) -> bool:
        return session is not None and has_right(web, session.principal, right)

    def minute(instant: datetime | str | None) -> str:
        if not instant:
            return ""
        found = from_text(instant) if isinstance(instant, str) else instant
        return f"{found.astimezone(zone):%Y-%m-%d %H:%M}"

    tongue = tongue_of(request)
    common = {
        "t": partial(said, tongue),
        "language": tongue,
        "instance": parts.context.config.daemon.name,
        "principal": session.principal if session else "",
        "is_proxied": session is not None and session.nonce == "proxy",
        "form_token": sessions.form_token(session) if session else "",
        "has_principals": bool(web.principals),
        "may": may,
        "minute": minute,
        "now": minute(parts.context.clock()),
        "zone": parts.context.config.daemon.timezone,
        "problems": parts.problems(),
        "path": request.url.path,
    }
    text = _environment().get_template(template).render(**common | values)
    tag = f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'
    if status == SUCCESS and request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers={"ETag": tag})
    return HTMLResponse(text, status, headers={"ETag": tag})


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(template_text), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(
        span=format_seconds, size=format_size, redact=lambda text: redact(str(text))
    )
    environment.globals["colours"] = {str(k): v for k, v in severity_colours().items()}
    return environment


@cache
def template_text(name: str) -> str:
    """Return a file of the folder of templates."""
    return (resources.files("daemon.web") / "templates" / name).read_text("utf-8")
