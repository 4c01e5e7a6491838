"""Errors as problem+json (RFC 9457), with a code for programs and the missing conditions."""

from collections.abc import Callable, Mapping, Sequence

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from store.store import StoreError

CONTENT_TYPE = "application/problem+json"
_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}


class ProblemError(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, code: str, detail: str, missing: Sequence[str] = ()) -> None:
        self.status, self.code, self.detail, self.missing = status, code, detail, list(missing)
        super().__init__(detail)


def problem(error: ProblemError, headers: Mapping[str, str] | None = None) -> Response:
    """Return the answer of an error."""
    body = {
        "type": "about:blank",
        "status": error.status,
        "code": error.code,
        "detail": error.detail,
        "missing": error.missing,
    }
    return JSONResponse(body, error.status, headers=headers, media_type=CONTENT_TYPE)


def _is_of_browser(request: Request) -> bool:
    accepted = request.headers.get("accept", "")
    return "text/html" in accepted and not request.url.path.startswith("/api/")


def add_handlers(app: FastAPI, page: Callable[[Request, ProblemError], Response]) -> None:
    """Answer errors as problem+json, to a browser by a page; no traceback leaves the service."""

    @app.exception_handler(ProblemError)
    def _known(request: Request, error: ProblemError) -> Response:
        if _is_of_browser(request):
            return page(request, error)
        unauthorized = {"WWW-Authenticate": 'Bearer realm="sereno"'}
        return problem(error, unauthorized if error.status == 401 else None)  # noqa: PLR2004

    @app.exception_handler(RequestValidationError)
    def _invalid(request: Request, error: RequestValidationError) -> Response:
        found = error.errors()
        if any(one["type"] == "json_invalid" for one in found):
            return problem(ProblemError(400, "bad_json", "the body is not JSON"))
        named = [".".join(map(str, one["loc"][1:])) or str(one["loc"][0]) for one in found]
        told = [f"{name}: {one['msg']}" for name, one in zip(named, found, strict=True)]
        return _known(request, ProblemError(422, "invalid", "; ".join(told)[:1000], named))

    @app.exception_handler(HTTPException)
    def _http(request: Request, error: HTTPException) -> Response:
        code = _CODES.get(error.status_code, "bad_request")
        return _known(request, ProblemError(error.status_code, code, str(error.detail)))

    @app.exception_handler(StoreError)
    def _store(_request: Request, error: StoreError) -> Response:
        return problem(ProblemError(503, "state_unusable", str(error)))

    @app.exception_handler(Exception)
    def _other(_request: Request, _error: Exception) -> Response:
        return problem(ProblemError(500, "failed", "an error of sereno itself; its log has it"))
