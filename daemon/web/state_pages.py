"""The pages about runs, findings, the outbox, coverage, the archive, and their forms."""

import re
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from alerts.catalogue import Tongue, counted
from alerts.digest import COUNTED
from daemon.config.model import Config
from daemon.context import Context
from daemon.report.health_report import page_folder
from daemon.web import state_actions, state_values
from daemon.web.alert_actions import number_of
from daemon.web.html import (
    SEE_OTHER,
    TOLD,
    Form,
    form_with,
    page_router,
    render,
    template_text,
    tongue_of,
)
from daemon.web.parts import Parts
from daemon.web.problems import ProblemError
from domain.secret import SHOWN

_REPORT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\.html")
MOST_REPORTS = 100
LARGEST_REPORT = 5_000_000
_REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; sandbox"
)
_PASSWORD = re.compile(r"(password\s*=\s*)('(?:[^'\\\\]|\\\\.)*'|\S+)|(//[^:/@\s]*:)[^@\s]*(?=@)")


def router(parts: Parts) -> APIRouter:
    """Return the pages and their forms."""
    made = APIRouter(include_in_schema=False)
    for path, show in (_run_pages(parts) | _other_pages(parts)).items():
        made.get(path)(page_router(parts, path, show))
    _add_forms(made, parts)
    _add_files(made)
    return made


def _run_pages(parts: Parts) -> dict[str, Any]:
    def start(request: Request) -> Response:
        values = state_values.overview_values(parts.context)
        values |= _open_alerts(values["alerts"], tongue_of(request))
        values |= _choices(parts.context)
        return render(parts, request, "overview.html", **values)

    def runs(request: Request) -> Response:
        job, database = (request.query_params.get(name, "") for name in ("job", "database"))
        rows = state_values.run_list(parts.context, job, database)
        return render(parts, request, "runs.html", runs=rows, job=job, database=database)

    def run(request: Request) -> Response:
        number = number_of(request.path_params["number"])
        found = state_values.run_values(parts.context, number, tongue_of(request))
        if found is None:
            raise ProblemError(404, "not_found", "there is no such run")
        return render(parts, request, "run.html", **found)

    def findings(request: Request) -> Response:
        wanted = {
            name: request.query_params.get(name, "")[:200]
            for name in ("severity", "database", "kind", "text")
        }
        found = state_values.finding_list(parts.context, wanted, tongue_of(request))
        told_not = state_values.ignored_values(parts.context)
        told = TOLD.get(request.query_params.get("done", ""), "")
        return render(
            parts,
            request,
            "findings.html",
            findings=found,
            wanted=wanted,
            ignored=told_not,
            told=told,
        )

    return {"/": start, "/runs": runs, "/runs/{number}": run, "/findings": findings}


def _choices(context: Context) -> dict[str, list[str]]:
    """Return the jobs and databases to choose from."""
    wanted = sorted(name for name, job in context.jobs.items() if not job.on_request)
    return {"wanted": wanted, "databases": list(context.config.databases)}


def _open_alerts(alerts: Mapping[str, int], tongue: Tongue) -> dict[str, str]:
    """Return the numbers of open alerts as text, and the class of the worst."""
    told = [one for one in COUNTED if alerts.get(one)]
    texts = (counted(tongue, *COUNTED[one], alerts[one]) for one in told)
    return {"open_alerts": ", ".join(texts), "worst": told[0] if told else "good"}


def _other_pages(parts: Parts) -> dict[str, Any]:
    def reports(request: Request) -> Response:
        return render(parts, request, "reports.html", reports=report_names(parts.context.config))

    def report(request: Request) -> Response:
        return _report(parts.context.config, request.path_params["name"])

    def configuration(request: Request) -> Response:
        return render(parts, request, "configuration.html", lines=in_force(parts.context.config))

    def listed(template: str, name: str, load: Any) -> Any:  # noqa: ANN401 - handlers
        def show(request: Request) -> Response:
            return render(parts, request, template, **{name: load(parts.context)})

        return show

    return {
        "/outbox": listed("outbox.html", "waiting", state_values.outbox_values),
        "/coverage": listed("coverage.html", "rows", state_values.coverage_values),
        "/archive": listed("archive.html", "rows", state_values.archive_values),
        "/audit": listed("audit.html", "rows", state_values.audit_values),
        "/reports": reports,
        "/reports/{name}": report,
        "/configuration": configuration,
    }


def _add_forms(made: APIRouter, parts: Parts) -> None:
    allowed = form_with(parts, "operate")

    @made.post("/runs")
    def run_now(form: Form = allowed) -> Response:
        job, database = form.value("job"), form.value("database")
        state_actions.run_now(
            parts, job, database, form.entry("run now", f"{job} {database}".strip())
        )
        return RedirectResponse("/", SEE_OTHER)

    @made.post("/pause")
    def pause(form: Form = allowed) -> Response:
        duration, reason = form.value("for"), form.value("reason")
        entry = form.entry("paused", "all work", f"{duration} {reason}".strip())
        state_actions.pause_work(parts, duration, reason, entry)
        return RedirectResponse("/", SEE_OTHER)

    @made.post("/resume")
    def resume(form: Form = allowed) -> Response:
        state_actions.resume_work(parts, form.entry("resumed", "all work"))
        return RedirectResponse("/", SEE_OTHER)

    @made.post("/ignored")
    def ignore(form: Form = allowed) -> Response:
        name, text = form.value("name"), form.value("object", 1000)
        until, reason = form.value("until"), form.value("reason")
        if not text or not reason:
            raise ProblemError(422, "invalid", "object and reason are needed", ["object", "reason"])
        entry = form.entry("ignored", f"{name} {text}", f"until {until}: {reason}")
        one = (text, until, reason, form.value("database"))
        state_actions.ignore_finding(parts, name, one, entry)
        return RedirectResponse("/findings?done=ignored", SEE_OTHER)

    @made.post("/ignored/{number}/end")
    def end_ignoring(number: int, form: Form = allowed) -> Response:
        entry = form.entry("ended ignoring", f"ignored object {number}")
        state_actions.end_ignoring(parts, number, entry)
        return RedirectResponse("/findings", SEE_OTHER)


def _add_files(made: APIRouter) -> None:
    @made.get("/static/sereno.css")
    def style() -> Response:
        return Response(template_text("sereno.css"), media_type="text/css")

    @made.get("/static/sereno.js")
    def script() -> Response:
        return Response(template_text("sereno.js"), media_type="text/javascript")


def report_names(config: Config) -> list[str]:
    """Return the days of the report pages, newest first."""
    folder = page_folder(config)
    try:
        names = [one.name for one in folder.iterdir() if _REPORT.fullmatch(one.name)]
    except OSError:
        return []
    return [name.removesuffix(".html") for name in sorted(names, reverse=True)[:MOST_REPORTS]]


def _report(config: Config, name: str) -> Response:
    """Return a report page, in a sandbox. Raises ProblemError 404."""
    path = page_folder(config) / f"{name}.html"
    if not _REPORT.fullmatch(path.name) or path.is_symlink() or not path.is_file():
        raise ProblemError(404, "not_found", "there is no such report")
    with path.open("rb") as file:
        body = file.read(LARGEST_REPORT)
    policy = {"Content-Security-Policy": _REPORT_POLICY}
    return Response(body, headers=policy, media_type="text/html")


def in_force(config: Config) -> list[tuple[str, str]]:
    """Return the configuration in force as paths and values; secrets are masked."""
    found: list[tuple[str, str]] = []
    _walk(config.model_dump(mode="json", serialize_as_any=True), "", found)
    return found


def _walk(value: Any, path: str, found: list[tuple[str, str]]) -> None:  # noqa: ANN401 - JSON
    if isinstance(value, dict) and value.keys() == {"file", "env", "credential"}:
        place = next(f"{key} {one}" for key, one in value.items() if one is not None)
        found.append((path, f"{SHOWN} ({place})"))
    elif isinstance(value, dict) and value:
        for key, one in value.items():
            _walk(one, f"{path}.{key}" if path else str(key), found)
    elif path.endswith("token_sha256"):
        found.append((path, SHOWN))
    else:
        shown = value if isinstance(value, str) else _plain(value)
        found.append((path, _PASSWORD.sub(lambda hit: f"{hit[1] or hit[3]}{SHOWN}", shown)))


def _plain(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return "" if value is None or value == {} else str(value)
