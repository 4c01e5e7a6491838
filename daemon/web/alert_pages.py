"""The pages of alerts, and the forms by which people acknowledge, silence and resolve them."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from alerts import alert_store, silences
from alerts.alert import Alert, State
from alerts.catalogue import Tongue, said
from daemon.alert_views import alert_details, alert_row, place_of, silence_row
from daemon.history import statistics
from daemon.web import alert_actions
from daemon.web.html import SEE_OTHER, TOLD, Form, form_with, page_router, render, tongue_of
from daemon.web.parts import Parts
from daemon.web.problems import ProblemError
from domain.redaction import redact

MOST_LISTED = 500
LONGEST_NUMBERS = 10_000


def router(parts: Parts) -> APIRouter:
    """Return the pages and their forms."""
    made = APIRouter(include_in_schema=False)
    _add_pages(made, parts)
    _add_forms(made, parts)
    return made


def _add_pages(made: APIRouter, parts: Parts) -> None:
    def alerts(request: Request) -> Response:
        everything = request.query_params.get("all") == "1"
        values = list_values(parts, tongue_of(request), everything=everything)
        return render(parts, request, "alerts.html", everything=everything, **values)

    def alert(request: Request) -> Response:
        found = one_values(parts, request.path_params["number"], tongue_of(request))
        told = TOLD.get(request.query_params.get("done", ""), "")
        return render(parts, request, "alert.html", told=told, **found)

    made.get("/alerts")(page_router(parts, "/alerts", alerts))
    made.get("/alerts/{number}")(page_router(parts, "/alert", alert))


def _add_forms(made: APIRouter, parts: Parts) -> None:
    allowed = form_with(parts, "acknowledge")

    @made.post("/alerts/{number}/acknowledge")
    def acknowledge(number: int, form: Form = allowed) -> Response:
        alert_actions.acknowledge(parts, number, form.value("for"), form.entry)
        return _back(number, "acknowledged")

    @made.post("/alerts/acknowledge")
    def acknowledge_all(form: Form = allowed) -> Response:
        for number in form.value("numbers", LONGEST_NUMBERS).split():
            with suppress(ProblemError):  # one that has ended meanwhile keeps no other back
                found = alert_actions.number_of(number)
                alert_actions.acknowledge(parts, found, form.value("for"), form.entry)
        return RedirectResponse("/alerts", SEE_OTHER)

    @made.post("/alerts/{number}/silence")
    def silence(number: int, form: Form = allowed) -> Response:
        given = alert_actions.Quiet(form.value("for"), form.value("reason"))
        alert_actions.silence_alert(parts, number, given, form.entry)
        return _back(number, "silenced")

    @made.post("/alerts/{number}/resolve")
    def resolve(number: int, form: Form = allowed) -> Response:
        alert_actions.resolve(parts, number, form.entry)
        return _back(number, "resolved")

    @made.post("/silences/{number}/end")
    def end_silence(number: int, form: Form = allowed) -> Response:
        alert_actions.end_silence(parts, number, form.entry)
        return RedirectResponse("/alerts", SEE_OTHER)


def _back(number: int, done: str) -> Response:
    return RedirectResponse(f"/alerts/{number}?done={done}", SEE_OTHER)


def list_values(parts: Parts, tongue: Tongue, *, everything: bool) -> dict[str, Any]:
    """Return the alerts, the worst first, and the silences in force."""
    context = parts.context
    now = context.clock()
    with context.store.reading() as transaction:
        found = (
            alert_store.load_latest(transaction, MOST_LISTED)
            if everything
            else alert_store.load_open(transaction)
        )
        active = silences.active(transaction, now)
        clusters = statistics.load_clusters(transaction)
    if not everything:
        found.sort(key=lambda one: (-one.severity.rank, one.id or 0))
    shown = found[:MOST_LISTED]
    rows = [
        {
            **_row(parts, one, active, now),
            "summary": redact(context.policy.texts(one, tongue)[0]),
            "place": place_of(one, clusters),
        }
        for one in shown
    ]
    quiet = [{**silence_row(one), "ends": one.ends_at} for one in active]
    firing = [one.id for one in shown if one.state is State.FIRING]
    return {"alerts": rows, "silences": quiet, "unacknowledged": firing}


def _row(parts: Parts, one: Alert, active: Any, now: datetime) -> Mapping[str, Any]:  # noqa: ANN401
    suppressed = one.suppressed_by or parts.context.policy.silenced(one, active, now)
    return {**alert_row(one, suppressed), "since": one.fired_at or one.opened_at}


def one_values(parts: Parts, number: str, tongue: Tongue) -> dict[str, Any]:
    """Return one alert in full. Raises ProblemError 404."""
    found = alert_details(parts.context, alert_actions.number_of(number), tongue)
    if found is None:
        raise ProblemError(404, "not_found", f"there is no alert {number[:20]}")
    check = parts.context.checks.get(found["kind"])
    title = said(tongue, found["kind"].replace("_", " ").capitalize())
    if check is not None:
        own = check.header.es if tongue == "es" else {}
        title = own.get("title", check.header.title)
    return {"one": found, "title": title, "since": datetime.fromisoformat(found["opened"])}
