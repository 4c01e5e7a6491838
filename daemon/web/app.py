"""The application: guard, endpoints, metrics and health."""

from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, Response

from daemon.monitoring.metrics import registry_of, render
from daemon.web import migrations, page
from daemon.web.guard import Guard, require
from daemon.web.parts import Parts
from daemon.web.problems import add_handlers


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
    add_handlers(app)
    _add_monitoring(app, parts)
    app.include_router(migrations.router(parts))
    app.include_router(migrations.router(parts), prefix="/api/v1", include_in_schema=False)
    app.include_router(page.router(parts))
    return Guard(app, parts.context.config.web)


def _add_monitoring(app: FastAPI, parts: Parts) -> None:
    registry = registry_of(parts.context)

    @app.get("/metrics", include_in_schema=False)
    def metrics(request: Request) -> Response:
        require(parts.context.config.web, request, "read")
        body, kind = render(registry, request.headers.get("accept", ""))
        return Response(body, headers={"Content-Type": kind})

    @app.get("/api/v1/openapi.json", include_in_schema=False)
    def schema(request: Request) -> dict[str, Any]:
        require(parts.context.config.web, request, "read")
        return app.openapi()

    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> Response:  # never behind the threads of other requests
        wrong = parts.problem()
        return PlainTextResponse(f"{wrong or 'well'}\n", 503 if wrong else 200)
