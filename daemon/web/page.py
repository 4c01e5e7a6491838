"""The page of migrations: from the store alone."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from daemon.history import migrating
from daemon.web.html import page_router, render
from daemon.web.migration_values import JOB, is_at_work, progress_values, status_values
from daemon.web.parts import Parts
from domain.units import format_seconds
from store.timestamps import from_text

REFRESH_SECONDS = 5
"""Without a script the page loads itself again in this interval, while a run is in progress."""


def router(parts: Parts) -> APIRouter:
    """Return the page."""
    made = APIRouter(include_in_schema=False)
    store = parts.context.store

    def page(request: Request) -> Response:
        with store.reading() as transaction:
            values = status_values(transaction, parts.context.clock(), parts.problems())
            rows = migrating.open_progress(transaction, JOB)
        moving = [progress_values(row) for row in rows if is_at_work(row)]
        refresh = REFRESH_SECONDS if values["current"] else None
        return render(
            parts,
            request,
            "migrations.html",
            migrations=values,
            moving=moving,
            lasted=lasted,
            seconds=format_seconds,
            refresh=refresh,
        )

    made.get("/migrations")(page_router(parts, "/migrations", page))
    return made


def lasted(run: dict[str, Any]) -> str:
    """Return the duration of a run that has ended."""
    if not run["finishedAt"]:
        return "-"
    began, ended = from_text(run["startedAt"]), from_text(run["finishedAt"])
    return format_seconds((ended - began).total_seconds())
