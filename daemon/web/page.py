"""The page of migrations: from the store alone, without a script."""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from importlib import resources
from typing import Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, FunctionLoader, StrictUndefined

from daemon.history import migrating
from daemon.web.guard import require
from daemon.web.migration_values import JOB, is_at_work, progress_values, status_values
from daemon.web.parts import Parts
from daemon.web.problems import ProblemError, problem
from domain.units import format_seconds
from store.timestamps import from_text

REFRESH_SECONDS = 5
"""The page loads itself again in this interval, only while a run is in progress."""


def router(parts: Parts) -> APIRouter:
    """Return the page and its style sheet."""
    made = APIRouter(include_in_schema=False)
    web, store = parts.context.config.web, parts.context.store

    @made.get("/migrations")
    def page(request: Request) -> Response:
        try:
            require(web, request, "read")
        except ProblemError as error:
            # a browser asks for name and token
            wanted = {"WWW-Authenticate": 'Basic realm="sereno: principal and token"'}
            return problem(error, wanted if error.status == 401 else None)  # noqa: PLR2004
        with store.reading() as transaction:
            values = status_values(transaction, parts.context.clock(), parts.problems())
            rows = migrating.open_progress(transaction, JOB)
        moving = [progress_values(row) for row in rows if is_at_work(row)]
        return HTMLResponse(render(values, moving, parts.context.config.daemon.timezone))

    @made.get("/")
    def start() -> Response:
        return RedirectResponse("/migrations")

    @made.get("/static/sereno.css")
    def style() -> Response:
        return Response(_text("sereno.css"), media_type="text/css")

    return made


def render(values: dict[str, Any], moving: Sequence[Any], zone: str) -> str:
    """Return the page."""
    local = ZoneInfo(zone)

    def minute(text: str | None) -> str:
        return f"{from_text(text).astimezone(local):%Y-%m-%d %H:%M}" if text else "-"

    def lasted(run: dict[str, Any]) -> str:
        if not run["finishedAt"]:
            return "-"
        began, ended = from_text(run["startedAt"]), from_text(run["finishedAt"])
        return format_seconds((ended - began).total_seconds())

    return (
        _environment()
        .get_template("migrations.html")
        .render(
            status=values,
            moving=moving,
            minute=minute,
            lasted=lasted,
            seconds=format_seconds,
            refresh=REFRESH_SECONDS if values["current"] else None,
            now=f"{datetime.now(local):%Y-%m-%d %H:%M:%S %Z}",
        )
    )


@cache
def _environment() -> Environment:
    return Environment(
        loader=FunctionLoader(_text), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip


@cache
def _text(name: str) -> str:
    return (resources.files("daemon.web") / "templates" / name).read_text("utf-8")
