"""The application: guard, endpoints, metrics and health."""

from functools import partial
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, Response

from daemon.monitoring.metrics import registry_of, render
from daemon.web import (
    alert_api,
    alert_pages,
    migrations,
    page,
    sign_in,
    state_api,
    state_pages,
)
from daemon.web.guard import Guard, require
from daemon.web.html import problem_page
from daemon.web.kept import KeptAnswers
from daemon.web.parts import Parts
from daemon.web.problems import add_handlers
from daemon.web.sessions import Sessions
from store.store import StoreError


def build_app(parts: Parts) -> Any:  # noqa: ANN401 - an ASGI application
    """Return the application behind its guard."""
    app = FastAPI(
        title="sereno",
        version=version("sereno"),
        openapi_url=None,  # as below, behind a token
        docs_url=None,  # its pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.sessions = Sessions(parts.context.store, parts.context.config.web)
    app.state.kept = KeptAnswers(parts.context.store)
    add_handlers(app, partial(problem_page, parts))
    _add_monitoring(app, parts)
    app.include_router(migrations.router(parts))
    app.include_router(migrations.router(parts), prefix="/api/v1", include_in_schema=False)
    app.include_router(alert_api.router(parts), prefix="/api/v1")
    app.include_router(state_api.router(parts), prefix="/api/v1")
    for pages in (page, sign_in, alert_pages, state_pages):
        app.include_router(pages.router(parts))
    return Guard(app, parts.context.config.web)


def _add_monitoring(app: FastAPI, parts: Parts) -> None:
    registry = registry_of(lambda: parts.context)

    @app.get("/metrics", include_in_schema=False)
    def metrics(request: Request) -> Response:
        require(parts.context.config.web, request, "read")
        body, kind = render(registry, request.headers.get("accept", ""))
        return Response(body, headers={"Content-Type": kind})

    @app.get("/api/v1/openapi.json", include_in_schema=False)
    def schema(request: Request) -> dict[str, Any]:
        require(parts.context.config.web, request, "read")
        return app.openapi()

    @app.get("/readyz", include_in_schema=False)
    def readyz() -> Response:
        wrong = parts.problem() or _store_problem(parts)
        return PlainTextResponse(f"{wrong or 'ready'}\n", 503 if wrong else 200)

    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> Response:  # never behind the threads of other requests
        wrong = parts.problem()
        return PlainTextResponse(f"{wrong or 'well'}\n", 503 if wrong else 200)


def _store_problem(parts: Parts) -> str:
    """Return why the state file cannot be read; empty if it can."""
    try:
        parts.context.store.instance()
    except StoreError as error:
        return str(error)
    return ""
