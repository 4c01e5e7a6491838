"""The endpoints of migrations: reads from the store, and requests that the service carries out."""

import json
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from daemon.history import migrating
from daemon.web.guard import require
from daemon.web.migration_requests import (
    Approve,
    Execute,
    Made,
    Place,
    Reasoned,
    RollBack,
    SetBatch,
    database_of,
    find_run,
    key_of,
    limit_batches,
    load_run,
    make,
    new_request,
    pause,
    refuse_ended_wrong,
)
from daemon.web.migration_values import progress_values, status_values
from daemon.web.parts import Parts
from daemon.web.problems import ProblemError

RUNS = "/migrations/runs/"


def router(parts: Parts) -> APIRouter:
    """Return the endpoints; the same stand under /api/v1."""
    made = APIRouter(tags=["migrations"])
    _add_reads(made, parts)
    _add_execute(made, parts)
    _add_operations(made, parts)
    _add_decisions(made, parts)
    return made


def _add_reads(router: APIRouter, parts: Parts) -> None:
    web, store = parts.context.config.web, parts.context.store

    @router.get("/migrations/status")
    def status(request: Request) -> dict[str, Any]:
        """Return the run in progress, the pending migrations with their gates, and the history."""
        require(web, request, "read")
        wrong = parts.problem()
        with store.reading() as transaction:
            return status_values(transaction, parts.context.clock(), [wrong] if wrong else [])

    @router.get("/migrations/progress")
    def progress(request: Request, id: str) -> Mapping[str, Any]:  # noqa: A002 - its name
        """Return how far the newest run of a migration, or a run, has come."""
        require(web, request, "read")
        with store.reading() as transaction:
            row = migrating.latest_progress(transaction, subject=id) or (
                migrating.latest_progress(transaction, request=id)
            )
        if row is None:
            raise ProblemError(404, "not_found", f"no run of {id[:80]} has made progress")
        return progress_values(row)

    @router.get(RUNS + "{run}")
    def one_run(request: Request, run: str) -> dict[str, Any]:
        """Return a run; a dry run has its plan and the hash of it."""
        require(web, request, "read")
        return load_run(parts, run)


def _add_execute(router: APIRouter, parts: Parts) -> None:
    web = parts.context.config.web

    @router.post("/migrations/execute", status_code=202)
    def execute(request: Request, body: Execute) -> Response:
        """Plan a migration, which is the default, or apply it; both are runs."""
        who = require(web, request, "execute")
        key = key_of(request, required=not body.dryRun)
        place = (database_of(parts, body.database), body.migrationId)
        values = {"until": body.until, "planHash": body.planHash, "reason": body.reason}
        action = "plan" if body.dryRun else "apply"
        if action == "apply":
            _require_second(parts, place, body.until, who)
        return _answer(parts, make(parts, request, new_request(action, place, who, values, key)))


def _add_operations(router: APIRouter, parts: Parts) -> None:
    web = parts.context.config.web

    @router.post("/migrations/{run}/pause", status_code=202)
    def pause_run(request: Request, run: str) -> Response:
        """Stop a run: its statement is cancelled, nothing is lost; resume goes on."""
        who = require(web, request, "operate")
        pause(parts, find_run(parts, run), who)
        return JSONResponse({"run": run}, 202)

    @router.post("/migrations/{run}/batch", status_code=202)
    def set_batch(request: Request, run: str, body: SetBatch) -> Response:
        """Limit the rows of a batch, from the next batch on."""
        who = require(web, request, "operate")
        limit_batches(parts, find_run(parts, run), body.rows, who)
        return JSONResponse({"run": run}, 202)

    @router.post("/migrations/{run}/resume", status_code=202)
    def resume(request: Request, run: str, body: Reasoned | None = None) -> Response:
        """Go on where a paused or failed run stopped, as a run of its own."""
        return _about_run(parts, request, run, ("resume", "operate"), body)

    @router.post("/migrations/{run}/cancel", status_code=202)
    def cancel(request: Request, run: str, body: Reasoned | None = None) -> Response:
        """Stop a run and undo its phase that is half done."""
        return _about_run(parts, request, run, ("cancel", "operate"), body)


def _add_decisions(router: APIRouter, parts: Parts) -> None:
    web = parts.context.config.web

    @router.post("/migrations/{run}/rollback", status_code=202)
    def rollback(request: Request, run: str, body: RollBack | None = None) -> Response:
        """Undo phases, the last one first, and verify each."""
        return _about_run(parts, request, run, ("rollback", "rollback"), body)

    @router.post("/migrations/{run}/approve", status_code=202)
    def approve(request: Request, run: str, body: Approve | None = None) -> Response:
        """Approve the next phase, or attest a gate; another principal applies it."""
        who, place = require(web, request, "approve"), find_run(parts, run)
        gate = body.gate if body else ""
        _require_new_approver(parts, place, gate, who)
        return _about_run(parts, request, run, ("approve", "approve"), body)


def _about_run(
    parts: Parts,
    request: Request,
    run: str,
    what: tuple[str, Any],
    body: Reasoned | Approve | None,
) -> Response:
    """Record a request about the migration of a run."""
    action, right = what
    who = require(parts.context.config.web, request, right)
    place = find_run(parts, run)
    values = body.model_dump() if body else {}
    asked = new_request(
        action,
        (place.database, place.migration),
        who,
        values,
        key_of(request, required=False),
    )
    return _answer(parts, make(parts, request, asked))


def _answer(parts: Parts, made: Made) -> Response:
    """Return 202 with the place of the run, or 200 with its result if it has ended."""
    headers = {"Location": RUNS + made.id}
    if made.row is None:
        return JSONResponse({"run": made.id}, 202, headers)
    refuse_ended_wrong(made.row)
    return JSONResponse(load_run(parts, made.id), 200, headers)


def _gates(parts: Parts, database: str, migration: str) -> list[dict[str, Any]]:
    with parts.context.store.reading() as transaction:
        rows = migrating.load_states(transaction)
    for row in rows:
        if (row["database"], row["migration"]) == (database, migration):
            gates: list[dict[str, Any]] = json.loads(row["gates"])
            return gates
    return []


def _require_second(parts: Parts, place: tuple[str, str], until: str | None, who: str) -> None:
    """Raise ProblemError 403 if the only approver asks for the phase that was approved."""
    for gate in _gates(parts, *place):
        if gate["name"] == f"{until}.approval" and gate["approvedBy"] == [who]:
            raise ProblemError(
                403,
                "second_person",
                f"{who} approved {until}: another principal has to apply it",
                [gate["name"]],
            )


def _require_new_approver(parts: Parts, place: Place, wanted: str, who: str) -> None:
    """Raise ProblemError 403 if the principal has approved the gate before."""
    for gate in _gates(parts, place.database, place.migration):
        is_meant = gate["name"] == wanted or (not wanted and gate["name"].endswith(".approval"))
        if is_meant and who in gate["approvedBy"]:
            raise ProblemError(
                403,
                "second_person",
                f"{who} has approved {gate['name']} already: a second person is needed",
                [gate["name"]],
            )
