"""The sign-in page: a token becomes a cookie; failures are limited and recorded."""

import threading
import time
from collections import defaultdict, deque
from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response

from alerts.catalogue import said
from daemon.history import audit
from daemon.history.audit import Entry
from daemon.principals import principal_of_token
from daemon.web.html import (
    FORBIDDEN,
    SEE_OTHER,
    SIGN_IN,
    address_of,
    plain_form,
    render,
    safe_path,
    tongue_of,
)
from daemon.web.parts import Parts
from daemon.web.problems import ProblemError
from daemon.web.sessions import COOKIE, LIFE_SECONDS, Sessions

MOST_FAILURES, MOST_OF_ALL, PERIOD_SECONDS = 5, 50, 60.0
"""Failures in the period from one address, and from all."""
MOST_ADDRESSES = 1000
TOO_MANY = 429


class Failures:
    """The failed attempts of the last minute, by address; bounded."""

    def __init__(self) -> None:
        self._times: dict[str, deque[float]] = defaultdict(deque)
        self._guard = threading.Lock()

    def wait_seconds(self, address: str) -> int:
        """Return how long an address has to wait; 0 if it may try."""
        now = time.monotonic()
        with self._guard:
            self._forget(now)
            own = list(self._times.get(address, ()))
            every = sum(map(len, self._times.values()))
            oldest = min((times[0] for times in self._times.values()), default=now)
        if len(own) >= MOST_FAILURES:
            return int(own[0] + PERIOD_SECONDS - now) + 1
        return int(oldest + PERIOD_SECONDS - now) + 1 if every >= MOST_OF_ALL else 0

    def add(self, address: str) -> None:
        """Count a failure."""
        with self._guard:
            self._forget(time.monotonic())
            if len(self._times) < MOST_ADDRESSES or address in self._times:
                self._times[address].append(time.monotonic())

    def _forget(self, now: float) -> None:
        for address, times in list(self._times.items()):
            while times and times[0] < now - PERIOD_SECONDS:
                times.popleft()
            if not times:
                del self._times[address]


def router(parts: Parts) -> APIRouter:
    """Return the pages of the sign-in."""
    made = APIRouter(include_in_schema=False)
    web, failures = parts.context.config.web, Failures()

    @made.get(SIGN_IN)
    def show(request: Request, next: str = "/") -> Response:  # noqa: A002 - its name in the address
        return render(parts, request, "sign_in.html", next=safe_path(next), wrong="")

    @made.post(SIGN_IN)
    def sign_in(
        request: Request, form: Annotated[Mapping[str, str], Depends(plain_form)]
    ) -> Response:
        _require_same_site(request)
        return _signed_in(parts, request, form, failures)

    @made.post("/sign-out")
    def sign_out(request: Request) -> Response:
        _require_same_site(request)
        answer = RedirectResponse(SIGN_IN, SEE_OTHER)
        answer.delete_cookie(COOKIE, httponly=True, samesite="lax", secure=web.behind_tls)
        return answer

    return made


def _signed_in(
    parts: Parts, request: Request, form: Mapping[str, str], failures: Failures
) -> Response:
    """Return the answer to a token: a cookie and the next page, or the form again."""
    web, address = parts.context.config.web, address_of(request)
    target = safe_path(form.get("next", "/"))
    if seconds := failures.wait_seconds(address):
        wrong = said(tongue_of(request), "too many attempts; try again in {n} s", n=seconds)
        answer = render(parts, request, "sign_in.html", next=target, wrong=wrong, status=TOO_MANY)
        answer.headers["Retry-After"] = str(seconds)
        return answer
    name = principal_of_token(web, form.get("token", "").strip())
    if name is None:
        failures.add(address)
        _record(parts, Entry("", address, "sign-in failed"))
        wrong = said(tongue_of(request), "this is nobody's token")
        return render(parts, request, "sign_in.html", next=target, wrong=wrong, status=FORBIDDEN)
    _record(parts, Entry(name, address, "signed in"))
    sessions: Sessions = request.app.state.sessions
    answer = RedirectResponse(target, SEE_OTHER)
    answer.set_cookie(
        COOKIE,
        sessions.issue(name),
        max_age=LIFE_SECONDS,
        httponly=True,
        samesite="lax",  # strict would leave out the cookie when a link in a mail is followed
        secure=web.behind_tls,
    )
    return answer


def _require_same_site(request: Request) -> None:
    """Refuse a form that another site has sent. Raises ProblemError 403."""
    if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        raise ProblemError(403, "other_site", "the form came from another site")


def _record(parts: Parts, entry: Entry) -> None:
    with parts.context.store.transaction() as transaction:
        audit.record(transaction, entry, parts.context.clock())
