"""The endpoints of migrations: reads from the store, and requests that the service carries out."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from daemon.history import migrating
from daemon.web.guard import principal_with, require
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
    made_before,
    make,
    new_request,
    pause,
    refuse_ended_wrong,
)
from daemon.web.migration_values import progress_values, status_values
from daemon.web.parts import Parts
from daemon.web.problems import ProblemError
from store.store import Row

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
        with store.reading() as transaction:
            return status_values(transaction, parts.context.clock(), parts.problems())

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
    executes = principal_with(parts.context.config.web, "execute")

    @router.post("/migrations/execute", status_code=202)
    def execute(request: Request, body: Execute, who: str = executes) -> Response:
        """Plan a migration, which is the default, or apply a reviewed plan; both are runs."""
        key = key_of(request, required=not body.dryRun)
        place = (database_of(parts, body.database), body.migrationId)
        values = {"until": body.until, "planHash": body.planHash, "reason": body.reason}
        asked = new_request("plan" if body.dryRun else "apply", place, who, values, key)
        if not body.dryRun and made_before(parts, asked) is None:
            _require_reviewed(body)
            _require_applicable(parts, place, body.until, who)
        return _answer(parts, make(parts, request, asked))


def _add_operations(router: APIRouter, parts: Parts) -> None:
    operates = principal_with(parts.context.config.web, "operate")
    executes = principal_with(parts.context.config.web, "execute")

    @router.post("/migrations/{run}/pause", status_code=202)
    def pause_run(run: str, who: str = operates) -> Response:
        """Stop a run: its statement is cancelled, nothing is lost; resume goes on."""
        pause(parts, run, find_run(parts, run), who)
        return JSONResponse({"run": run}, 202)

    @router.post("/migrations/{run}/batch", status_code=202)
    def set_batch(run: str, body: SetBatch, who: str = operates) -> Response:
        """Limit the rows of a batch, from the next batch on."""
        limit_batches(parts, find_run(parts, run), body.rows, who)
        return JSONResponse({"run": run}, 202)

    @router.post("/migrations/{run}/resume", status_code=202)
    def resume(
        request: Request, run: str, body: Reasoned | None = None, who: str = executes
    ) -> Response:
        """Go on where a paused or failed run stopped, as a run of its own."""
        place = find_run(parts, run)
        if place.state == "running":
            raise ProblemError(409, "busy", "the run is at work; it needs no resume")
        return _about_run(parts, request, place, ("resume", who), body)

    @router.post("/migrations/{run}/cancel", status_code=202)
    def cancel(
        request: Request, run: str, body: Reasoned | None = None, who: str = operates
    ) -> Response:
        """Stop a run and undo its phase that is half done."""
        place = find_run(parts, run)
        if place.number is None and place.state in {"waiting", "running"}:
            parts.carrier.cancel(run)
            return JSONResponse({"run": run}, 202)
        return _about_run(parts, request, place, ("cancel", who), body)


def _add_decisions(router: APIRouter, parts: Parts) -> None:
    rolls_back = principal_with(parts.context.config.web, "rollback")
    approves = principal_with(parts.context.config.web, "approve")

    @router.post("/migrations/{run}/rollback", status_code=202)
    def rollback(request: Request, run: str, body: RollBack, who: str = rolls_back) -> Response:
        """Undo phases down to `until`, the last one first, and verify each."""
        return _about_run(parts, request, find_run(parts, run), ("rollback", who), body)

    @router.post("/migrations/{run}/approve", status_code=202)
    def approve(
        request: Request, run: str, body: Approve | None = None, who: str = approves
    ) -> Response:
        """Approve the next phase, or attest a gate; another principal applies it."""
        return _about_run(parts, request, find_run(parts, run), ("approve", who), body)


def _about_run(
    parts: Parts,
    request: Request,
    place: Place,
    what: tuple[str, str],
    body: Reasoned | Approve | None,
) -> Response:
    """Record a request about the migration of a run; it needs a key, so that it can be repeated."""
    action, who = what
    values = body.model_dump() if body else {}
    key = key_of(request, required=action != "approve")
    asked = new_request(action, (place.database, place.migration), who, values, key)
    if action == "approve" and made_before(parts, asked) is None:
        _require_decidable(parts, place, values, who)
    return _answer(parts, make(parts, request, asked))


def _require_reviewed(body: Execute) -> None:
    """Raise ProblemError 422 if no plan was reviewed."""
    if not body.planHash:
        raise ProblemError(
            422,
            "plan_missing",
            "planHash is missing: a dry run gives the plan and its hash",
            ["planHash"],
        )


def _answer(parts: Parts, made: Made) -> Response:
    """Return 202 with the place of the run, or 200 with its result if it has ended."""
    headers = {"Location": RUNS + made.id}
    if made.row is None:
        return JSONResponse({"run": made.id}, 202, headers)
    refuse_ended_wrong(made.row)
    return JSONResponse(load_run(parts, made.id), 200, headers)


def _known(parts: Parts, database: str, migration: str) -> Row | None:
    """Return the copy of the ledger of a migration; None if it is not known yet."""
    with parts.context.store.reading() as transaction:
        rows = migrating.load_states(transaction)
    return next(
        (one for one in rows if (one["database"], one["migration"]) == (database, migration)), None
    )


def _require_applicable(parts: Parts, place: tuple[str, str], until: str | None, who: str) -> None:
    """Raise ProblemError 409 for a migration that is done, 403 for the only approver of a phase."""
    row = _known(parts, *place)
    if row is None:
        return
    if row["state"] in {"done", "purged"} and until is None:
        raise ProblemError(409, "wrong_state", f"{place[1]} is {row['state']} already")
    for gate in json.loads(row["gates"]):
        if gate["name"] == f"{until}.approval" and gate["approvedBy"] == [who]:
            raise ProblemError(
                403,
                "second_person",
                f"{who} approved {until}: another principal has to apply it",
                [gate["name"]],
            )


def _require_decidable(parts: Parts, place: Place, values: Mapping[str, Any], who: str) -> None:
    """Raise ProblemError 422 for a wrong gate or no note, 403 for a second approval by one."""
    row = _known(parts, place.database, place.migration)
    gates: list[dict[str, Any]] = json.loads(row["gates"]) if row is not None else []
    gate = _meant(gates, str(values.get("gate") or ""))
    if gate is None:
        return
    is_approval = gate["name"].endswith(".approval")
    if not is_approval and not str(values.get("note") or "").strip():
        raise ProblemError(422, "invalid", "note: say what was done", ["note"])
    if who in gate["approvedBy"]:
        raise ProblemError(
            403,
            "second_person",
            f"{who} has approved {gate['name']} already: a second person is needed",
            [gate["name"]],
        )


def _meant(gates: Sequence[dict[str, Any]], wanted: str) -> dict[str, Any] | None:
    """Return the wanted gate, or the approval of the next phase; None if none is known yet.

    Raises ProblemError 422 for an unknown one.
    """
    if not wanted:
        return next((one for one in gates if one["name"].endswith(".approval")), None)
    found = next((one for one in gates if one["name"] == wanted), None)
    if found is None and gates:
        known = ", ".join(one["name"] for one in gates)
        raise ProblemError(422, "invalid", f"gate: unknown; known: {known}", ["gate"])
    return found
