"""The interface of runs, findings, the outbox and coverage for programs."""

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from daemon.context import Context
from daemon.history.audit import Entry
from daemon.web import state_actions, state_values
from daemon.web.alert_actions import number_of
from daemon.web.guard import principal_with, require
from daemon.web.html import address_of
from daemon.web.parts import Parts
from daemon.web.problems import ProblemError
from daemon.web.state_pages import in_force, report_names


class RunNow(BaseModel):
    """The job to run, and where; by default wherever the configuration wants it."""

    model_config = ConfigDict(extra="forbid")
    job: str = Field(max_length=100)
    database: str = Field("", max_length=200)


class Pause(BaseModel):
    """For how long all work is paused, by default until it is resumed, and why."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)
    duration: str = Field("", alias="for", max_length=50, examples=["2h"])
    reason: str = Field("", max_length=500)


class Ignore(BaseModel):
    """The object whose findings of a check are not told, the last day, and why."""

    model_config = ConfigDict(extra="forbid")
    check: str = Field(max_length=100)
    object: str = Field(min_length=1, max_length=1000)
    database: str = Field("", max_length=100, description="Empty: in every database.")
    until: date
    reason: str = Field(min_length=1, max_length=500)


def router(parts: Parts) -> APIRouter:
    """Return the endpoints."""
    made = APIRouter(tags=["state"])
    _add_reads(made, parts)
    _add_writes(made, parts)
    return made


def _add_reads(made: APIRouter, parts: Parts) -> None:
    web = parts.context.config.web

    def reader(request: Request) -> str:
        return require(web, request, "read")

    reads = [Depends(reader)]

    for path, (load, summary) in _SIMPLE.items():
        made.get(path, dependencies=reads, summary=summary)(_handler(path, load, parts))

    @made.get("/runs", dependencies=reads)
    def runs(job: str = "", database: str = "") -> list[dict[str, Any]]:
        """Return the newest runs."""
        return state_values.run_list(parts.context, job, database)

    @made.get("/runs/{number}", dependencies=reads)
    def run(number: str) -> dict[str, Any]:
        """Return a run with its steps and findings."""
        found = state_values.run_values(parts.context, number_of(number))
        if found is None:
            raise ProblemError(404, "not_found", f"there is no run {number[:20]}")
        return found

    @made.get("/findings", dependencies=reads)
    def findings(
        severity: str = "", database: str = "", check: str = "", text: str = ""
    ) -> dict[str, Any]:
        """Return the findings of the last run of each job in each place, and ignored objects."""
        wanted = {"severity": severity, "database": database, "kind": check, "text": text}
        found = state_values.finding_list(parts.context, wanted)
        return {"findings": found, "ignored": state_values.ignored_values(parts.context)}


_SIMPLE: Mapping[str, tuple[Callable[[Context], Any], str]] = {
    "/overview": (
        state_values.overview_values,
        "The last result of each job in each place, what is at work, and due times",
    ),
    "/outbox": (state_values.outbox_values, "The messages that are not delivered yet"),
    "/coverage": (state_values.coverage_values, "How much of each database was verified"),
    "/archive": (state_values.archive_values, "What the job archive has moved"),
    "/audit": (state_values.audit_values, "The newest entries of the audit log"),
    "/reports": (lambda one: report_names(one.config), "The days of the health reports"),
    "/configuration": (
        lambda one: dict(in_force(one.config)),
        "The configuration in force; secrets are masked",
    ),
}


def _handler(path: str, load: Callable[[Context], Any], parts: Parts) -> Callable[[], Any]:
    def handler() -> Any:  # noqa: ANN401 - JSON
        return load(parts.context)

    handler.__name__ = path.strip("/")
    return handler


def _add_writes(made: APIRouter, parts: Parts) -> None:
    may = principal_with(parts.context.config.web, "operate")

    @made.post("/runs", status_code=202)
    def run_now(request: Request, body: RunNow, who: str = may) -> dict[str, str]:
        """Have a job run now."""
        entry = Entry(who, address_of(request), "run now", f"{body.job} {body.database}".strip())
        return {"request": state_actions.run_now(parts, body.job, body.database, entry)}

    @made.post("/pause")
    def pause(request: Request, body: Pause, who: str = may) -> dict[str, str]:
        """Pause all work."""
        detail = f"{body.duration} {body.reason}".strip()
        entry = Entry(who, address_of(request), "paused", "all work", detail)
        state_actions.pause_work(parts, body.duration, body.reason, entry)
        return {"state": "paused"}

    @made.post("/resume")
    def resume(request: Request, who: str = may) -> dict[str, str]:
        """End the pause."""
        entry = Entry(who, address_of(request), "resumed", "all work")
        state_actions.resume_work(parts, entry)
        return {"state": "working"}

    @made.post("/ignored", status_code=201)
    def ignore(request: Request, body: Ignore, who: str = may) -> dict[str, int]:
        """Ignore an object of a check until a day."""
        until, subject = body.until.isoformat(), f"{body.check} {body.object}"
        detail = f"until {until}: {body.reason}"
        entry = Entry(who, address_of(request), "ignored", subject, detail)
        one = (body.object, until, body.reason, body.database)
        return {"ignored": state_actions.ignore_finding(parts, body.check, one, entry)}

    @made.delete("/ignored/{number}")
    def end_ignoring(request: Request, number: str, who: str = may) -> dict[str, int]:
        """Tell the findings about an object again."""
        found = number_of(number)
        entry = Entry(who, address_of(request), "ended ignoring", f"ignored object {found}")
        state_actions.end_ignoring(parts, found, entry)
        return {"ignored": found}
