"""The interface of alerts and silences for programs."""

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from alerts.rules import Matcher
from daemon.history.audit import Entry
from daemon.web import alert_actions
from daemon.web.alert_pages import list_values, one_values
from daemon.web.guard import principal_with, require
from daemon.web.html import address_of
from daemon.web.parts import Parts
from domain.finding import Severity


class Acknowledge(BaseModel):
    """For how long an alert is acknowledged; by default until it is resolved."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)
    duration: str = Field("", alias="for", max_length=50, examples=["8h"])


class NewSilence(BaseModel):
    """The alerts to silence (shell patterns), the duration, and the reason."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)
    duration: str = Field(alias="for", max_length=50, examples=["2h"])
    reason: str = Field(min_length=1, max_length=500)
    severity: list[Severity] = Field(default_factory=list, max_length=4)
    database: str = Field("*", max_length=200)
    job: str = Field("*", max_length=200)
    check: str = Field("*", max_length=200)
    object: str = Field("*", max_length=1000)
    tag: str = Field("", max_length=200)


def router(parts: Parts) -> APIRouter:
    """Return the endpoints."""
    made = APIRouter(tags=["alerts"])
    _add_reads(made, parts)
    _add_alert_writes(made, parts)
    _add_silence_writes(made, parts)
    return made


def _entry(request: Request, principal: str) -> alert_actions.MakeEntry:
    def make(action: str, subject: str, detail: str) -> Entry:
        return Entry(principal, address_of(request), action, subject, detail)

    return make


def _add_reads(made: APIRouter, parts: Parts) -> None:
    web = parts.context.config.web

    @made.get("/alerts")
    def alerts(request: Request, all: bool = False) -> dict[str, Any]:  # noqa: A002, FBT001, FBT002 - its name in the address
        """Return the open alerts, the worst first, and the silences in force."""
        require(web, request, "read")
        return list_values(parts, "en", everything=all)

    @made.get("/alerts/{number}")
    def alert(request: Request, number: str) -> dict[str, Any]:
        """Return an alert with its events and notifications."""
        require(web, request, "read")
        found: dict[str, Any] = one_values(parts, number, "en")["one"]
        return found


def _add_alert_writes(made: APIRouter, parts: Parts) -> None:
    may = principal_with(parts.context.config.web, "acknowledge")

    @made.post("/alerts/{number}/acknowledge")
    def acknowledge(
        request: Request, number: str, body: Acknowledge | None = None, who: str = may
    ) -> dict[str, Any]:
        """Acknowledge an alert: no repeats and no escalation until it worsens or recurs."""
        found, duration = alert_actions.number_of(number), body.duration if body else ""
        alert_actions.acknowledge(parts, found, duration, _entry(request, who))
        return {"alert": found, "state": "acknowledged"}

    @made.post("/alerts/{number}/resolve")
    def resolve(request: Request, number: str, who: str = may) -> dict[str, Any]:
        """Resolve an alert by hand."""
        found = alert_actions.number_of(number)
        alert_actions.resolve(parts, found, _entry(request, who))
        return {"alert": found, "state": "resolved"}


def _add_silence_writes(made: APIRouter, parts: Parts) -> None:
    may = principal_with(parts.context.config.web, "acknowledge")

    @made.post("/silences", status_code=201)
    def silence(request: Request, body: NewSilence, who: str = may) -> dict[str, Any]:
        """Suppress notifications of matching alerts; resolutions are still notified."""
        fields = body.model_dump(exclude={"duration", "reason"})
        quiet = alert_actions.Quiet(body.duration, body.reason)
        matcher = Matcher.model_validate(fields)
        made_by = _entry(request, who)("silenced", str(matcher.given()), body.reason)
        return {"silence": alert_actions.silence(parts, matcher, quiet, made_by)}

    @made.delete("/silences/{number}")
    def end_silence(request: Request, number: str, who: str = may) -> dict[str, Any]:
        """End a silence now."""
        found = alert_actions.number_of(number)
        alert_actions.end_silence(parts, found, _entry(request, who))
        return {"silence": found, "state": "ended"}
