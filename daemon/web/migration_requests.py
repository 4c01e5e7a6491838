"""Requests about migrations: recorded in the store, carried out by the service, never here."""

import json
import re
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, StrictBool

from daemon.history import migrating, requests, web_requests
from daemon.history.web_requests import WebRequest
from daemon.migrating.requests import migrating_databases
from daemon.web.migration_values import JOB, plan_run_values, run_values
from daemon.web.parts import Parts
from daemon.web.problems import ProblemError
from store.store import Row

PhaseName = Literal["prepare", "data", "tighten", "cleanup", "purge"]
POLL_SECONDS = 0.2
LONGEST_WAIT_SECONDS = 20.0
_WAITERS = threading.BoundedSemaphore(4)
_KEY = re.compile(r"[\x21-\x7e]{1,200}")
_WAIT = re.compile(r"(?:^|[,;\s])wait=(\d{1,3})")
_ID = r"^[0-9]{4}_[a-z0-9_]{1,60}$"


class Body(BaseModel):
    """The base of bodies: an unknown field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Execute(Body):
    """The body of /migrations/execute."""

    migrationId: str = Field(pattern=_ID)  # noqa: N815 - the name in the interface
    database: str = Field("", max_length=63)
    dryRun: StrictBool = True  # noqa: N815 - the name in the interface
    until: PhaseName | None = None
    planHash: str = Field("", max_length=64)  # noqa: N815 - the name in the interface
    reason: str = Field("", max_length=2000)


class Reasoned(Body):
    """The body of requests that may give a reason."""

    reason: str = Field("", max_length=2000)


class RollBack(Reasoned):
    """The body of a rollback: it names the first phase to undo."""

    until: PhaseName
    accept: StrictBool = False


class Approve(Body):
    """The body of an approval."""

    gate: str = Field("", max_length=100)
    note: str = Field("", max_length=2000)


class SetBatch(Body):
    """The body of a limit of batches."""

    rows: int = Field(ge=0, le=1_000_000)


@dataclass(frozen=True, slots=True)
class Place:
    """The migration that a run is about."""

    database: str
    migration: str
    number: int | None
    """The number of the run; None if it has not begun."""
    state: str


@dataclass(frozen=True, slots=True)
class Made:
    """A request that was recorded now or, with the same key, before."""

    id: str
    row: Row | None
    """Its row, if it has ended within the time that the caller waits."""


def database_of(parts: Parts, wanted: str) -> str:
    """Return the wanted database, or the only one with a `migrate` login. Raises ProblemError."""
    known = migrating_databases(parts.context)
    if wanted in known:
        return wanted
    if not wanted and len(known) == 1:
        return known[0]
    listed = ", ".join(known) or "none"
    raise ProblemError(
        404 if wanted else 422, "unknown_database", f"name a database of: {listed}", ["database"]
    )


def made_before(parts: Parts, asked: WebRequest) -> str | None:
    """Return the request that was made with the same key; None if there is none.

    Raises ProblemError 422 if it had another body.
    """
    with parts.context.store.reading() as transaction:
        known = web_requests.of_key(transaction, asked.principal, asked.key)
    if known is not None and known["body"] != asked.body:
        raise ProblemError(422, "key_reused", "this Idempotency-Key was used for another request")
    return known["id"] if known is not None else None


def make(parts: Parts, request: Request, asked: WebRequest) -> Made:
    """Record a request and wake the service; wait as long as the caller prefers.

    Raises ProblemError as `made_before`.
    """
    context = parts.context
    with context.store.transaction() as transaction:
        known = web_requests.of_key(transaction, asked.principal, asked.key)
        if known is None:
            web_requests.add(transaction, asked, context.clock())
    if known is not None:
        made_before(parts, asked)
    number = known["id"] if known is not None else asked.id
    if known is None:
        parts.carrier.look()
    return Made(number, _ended(parts, number, _preferred_wait(request)))


def new_request(
    action: str, place: tuple[str, str], principal: str, body: Mapping[str, Any], key: str
) -> WebRequest:
    """Return a request with a new id; its body is put into one form to be compared."""
    text = json.dumps({"does": action, "place": place, **body}, sort_keys=True)
    return WebRequest(str(uuid.uuid4()), action, *place, principal, text, key)


def key_of(request: Request, *, required: bool) -> str:
    """Return the Idempotency-Key. Raises ProblemError 428 without one, 422 for a bad one."""
    key = request.headers.get("idempotency-key", "")
    if not key and required:
        raise ProblemError(
            428,
            "key_missing",
            "a run that changes something needs an Idempotency-Key, so that it can be repeated",
            ["Idempotency-Key"],
        )
    if key and not _KEY.fullmatch(key):
        raise ProblemError(422, "invalid", "Idempotency-Key: 1 to 200 printable characters")
    return key


def find_run(parts: Parts, run: str) -> Place:
    """Return the migration of a run. Raises ProblemError 404."""
    row, asked = _find(parts, run)
    if row is not None:
        state = run_values(row)["status"]  # interrupted if its process is gone
        return Place(row["database"], row["subject"], row["id"], state)
    return Place(asked["database"], asked["subject"], None, asked["state"])


def load_run(parts: Parts, run: str) -> dict[str, Any]:
    """Return a run; a dry run with its plan. Raises ProblemError 404."""
    row, asked = _find(parts, run)
    if row is not None:
        return run_values(row)
    values = plan_run_values(asked)
    if asked["action"] == "plan" and asked["state"] == "done":
        values["plan"] = json.loads(asked["answer"])
    return values


def _find(parts: Parts, run: str) -> tuple[Row | None, Row]:
    """Return a run, if it has begun, and its request. Raises ProblemError 404 without either."""
    with parts.context.store.reading() as transaction:
        row = migrating.find_run(transaction, JOB, run)
        asked = web_requests.load(transaction, run)
    if row is None and asked is None:
        raise ProblemError(404, "not_found", f"no run {run[:60]}")
    return row, asked or {}


def pause(parts: Parts, run: str, place: Place, principal: str) -> None:
    """Ask a run to stop, also one that has not begun. Raises ProblemError 409 if it has ended."""
    if place.state not in {"running", "waiting"}:
        raise ProblemError(409, "wrong_state", f"the run is {place.state}")
    if place.number is None:
        parts.carrier.cancel(run)
        return
    with parts.context.store.transaction() as transaction:
        requests.request_stop(transaction, place.number, principal, parts.context.clock())


def limit_batches(parts: Parts, place: Place, rows: int, principal: str) -> None:
    """Limit the rows of the next batches; 0 removes the limit."""
    with parts.context.store.transaction() as transaction:
        migrating.limit_batches(
            transaction, (place.database, place.migration), rows, principal, parts.context.clock()
        )


def refuse_ended_wrong(row: Row) -> None:
    """Raise ProblemError 409 for a request that was refused, 500 for one that failed."""
    if not row["error"]:
        return
    answer = json.loads(row["answer"] or "{}")
    if "number" in answer:
        return  # a run that began: its end is the answer
    code = str(answer.get("code") or "failed")
    status = {"failed": 500, "interrupted": 503}.get(code, 409)
    raise ProblemError(status, code, row["error"], missing_of(row["error"]))


def missing_of(error: str) -> list[str]:
    """Return the closed gates that an error names."""
    return re.findall(r"(?:begin|cleanup|purge)\.[a-z-]+(?=:)", error)


def _preferred_wait(request: Request) -> float:
    found = _WAIT.search(request.headers.get("prefer", ""))
    return min(LONGEST_WAIT_SECONDS, float(found[1])) if found else 0.0


def _ended(parts: Parts, number: str, seconds: float) -> Row | None:
    """Return the row of a request as soon as it has ended, None after some seconds.

    Only a few callers may wait: each takes one of the threads of all requests.
    """
    if not _WAITERS.acquire(blocking=False):
        return None
    try:
        return _awaited(parts, number, seconds)
    finally:
        _WAITERS.release()


def _awaited(parts: Parts, number: str, seconds: float) -> Row | None:
    deadline = time.monotonic() + seconds
    while True:
        with parts.context.store.reading() as transaction:
            row = web_requests.load(transaction, number)
        if row is not None and row["state"] in {"done", "failed"}:
            return row
        if time.monotonic() >= deadline:
            return None
        time.sleep(POLL_SECONDS)
