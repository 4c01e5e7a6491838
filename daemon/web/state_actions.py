"""Actions on runs, pauses and findings, recorded in the audit log."""

import json
import uuid
from datetime import date, timedelta

from checks.options import IgnoredObject
from daemon.history import audit, ignored, pause, web_requests
from daemon.history.audit import Entry
from daemon.history.web_requests import WebRequest
from daemon.web.alert_actions import end_of
from daemon.web.parts import Parts
from daemon.web.problems import ProblemError
from domain.place import means

MOST_IGNORED_DAYS = 366


def run_now(parts: Parts, job: str, database: str, made: Entry) -> str:
    """Have a job run now; return the id of the request. Raises ProblemError 422.

    A run of the same job in the same place goes first: the later one is skipped.
    """
    context = parts.context
    if job not in context.jobs or context.jobs[job].on_request:
        raise ProblemError(422, "invalid", f"job: there is no job {job[:60]!r}", ["job"])
    if database and not any(means(database, name) for name in context.config.databases):
        raise ProblemError(422, "invalid", f"database: unknown: {database[:60]!r}", ["database"])
    request = WebRequest(uuid.uuid4().hex, "run", database, job, made.principal, json.dumps({}), "")
    with context.store.transaction() as transaction:
        web_requests.add(transaction, request, context.clock())
        audit.record(transaction, made, context.clock())
    parts.carrier.look()
    return request.id


def pause_work(parts: Parts, duration: str, reason: str, made: Entry) -> None:
    """Pause all work, for a duration or until it is resumed. Raises ProblemError 422."""
    until = end_of(parts, duration) if duration else None
    with parts.context.store.transaction() as transaction:
        pause.pause(transaction, until, reason or f"by {made.principal}", parts.context.clock())
        audit.record(transaction, made, parts.context.clock())


def resume_work(parts: Parts, made: Entry) -> None:
    """End the pause. Raises ProblemError 409 if there is none."""
    with parts.context.store.transaction() as transaction:
        if not pause.resume(transaction):
            raise ProblemError(409, "wrong_state", "nothing is paused")
        audit.record(transaction, made, parts.context.clock())


def ignore_finding(parts: Parts, name: str, one: tuple[str, str, str, str], made: Entry) -> int:
    """Ignore an object (text, last day, reason, database) of a check; return its number.

    Raises ProblemError 422.
    """
    text, until, reason, database = one
    if database and database not in parts.context.config.databases:
        raise ProblemError(422, "invalid", f"database: {database[:60]!r} is unknown", ["database"])
    if name not in parts.context.config.checks:
        raise ProblemError(422, "invalid", f"name: there is no check {name[:60]!r}", ["name"])
    now = parts.context.clock()
    entry = IgnoredObject(object=text or "", until=_day(until, now.date()), reason=reason or "")
    with parts.context.store.transaction() as transaction:
        finding = ignored.IgnoredFinding(name, entry, database)
        number = ignored.add(transaction, finding, made.principal, now)
        audit.record(transaction, made, now)
    return number


def end_ignoring(parts: Parts, number: int, made: Entry) -> None:
    """Tell the findings about an object again. Raises ProblemError 404."""
    with parts.context.store.transaction() as transaction:
        if not ignored.end(transaction, number):
            raise ProblemError(404, "not_found", f"there is no ignored object {number}")
        audit.record(transaction, made, parts.context.clock())


def _day(text: str, today: date) -> date:
    """Return the last day. Raises ProblemError 422 for none, a past one or one too far away."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise ProblemError(422, "invalid", "until: a day like 2027-01-31", ["until"]) from None
    if not today <= day <= today + timedelta(days=MOST_IGNORED_DAYS):
        wanted = f"until: from today to {MOST_IGNORED_DAYS} days from now"
        raise ProblemError(422, "invalid", wanted, ["until"])
    return day
