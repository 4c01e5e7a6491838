"""Actions on alerts through the HTTP interface, recorded in the audit log."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from alerts import alert_store, silences
from alerts.alert import Alert
from alerts.policy import Silence
from alerts.processor import Acknowledged
from alerts.rules import Matcher
from daemon.history import audit
from daemon.history.audit import Entry
from daemon.web.parts import Parts
from daemon.web.problems import ProblemError
from domain.coverage import Coverage
from domain.units import parse_duration
from store.store import Transaction

LONGEST_NUMBER = 18
MakeEntry = Callable[[str, str, str], Entry]


@dataclass(frozen=True, slots=True)
class Quiet:
    """The duration of a silence as people write it, and its reason."""

    duration: str
    reason: str


def number_of(text: str) -> int:
    """Return the number of an alert or a run. Raises ProblemError 404."""
    if not text.isascii() or not text.isdigit() or len(text) > LONGEST_NUMBER:
        raise ProblemError(404, "not_found", f"{text[:20]!r} is not a number")
    return int(text)


def acknowledge(parts: Parts, number: int, duration: str, entry: MakeEntry) -> None:
    """Acknowledge an alert, for a duration or until it is resolved. Raises ProblemError."""
    until = end_of(parts, duration) if duration else None
    made = entry("acknowledged", f"alert {number}", duration)
    result = parts.context.acknowledge(number, made.principal, until)
    if result is Acknowledged.NOT_OPEN:
        raise ProblemError(409, "wrong_state", f"alert {number} is not open")
    if result is Acknowledged.PENDING:
        raise ProblemError(409, "wrong_state", f"alert {number} is pending: nobody was notified")
    record(parts, made)


def silence_alert(parts: Parts, number: int, quiet: Quiet, entry: MakeEntry) -> int:
    """Silence one alert; return the number of the silence. Raises ProblemError."""
    with parts.context.store.reading() as transaction:
        alert = _open(transaction, number)
    matcher = Matcher(
        database=_literal(alert.database),
        check=_literal(alert.kind),
        object=_literal(alert.object),
        job=_literal(alert.task),
    )
    made = entry("silenced", f"alert {number}", f"{quiet.duration}: {quiet.reason}")
    return silence(parts, matcher, quiet, made)


def silence(parts: Parts, matcher: Matcher, quiet: Quiet, made: Entry) -> int:
    """Silence the matching alerts; return the number of the silence. Raises ProblemError 422."""
    context = parts.context
    if not quiet.reason:
        raise ProblemError(422, "invalid", "reason: say why", ["reason"])
    now = context.clock()
    ends = end_of(parts, quiet.duration)
    wanted = Silence(matcher, made.principal, quiet.reason, now, ends)
    with context.store.transaction() as transaction:
        found = context.processor(transaction).silence(wanted)
        audit.record(transaction, made, now)
    return found


def end_silence(parts: Parts, number: int, entry: MakeEntry) -> None:
    """End a silence now. Raises ProblemError 404."""
    now = parts.context.clock()
    with parts.context.store.transaction() as transaction:
        if not silences.end(transaction, number, now):
            raise ProblemError(404, "not_found", f"there is no silence {number} in force")
        audit.record(transaction, entry("ended silence", f"silence {number}", ""), now)


def resolve(parts: Parts, number: int, entry: MakeEntry) -> None:
    """Resolve an alert by hand. Raises ProblemError."""
    context = parts.context
    with context.store.transaction() as transaction:
        alert = _open(transaction, number)
        area = Coverage(
            alert.kind, alert.database, alert.object, alert.task, alert.cluster, final=True
        )
        context.processor(transaction).process([], [area])
        audit.record(transaction, entry("resolved", f"alert {number}", ""), context.clock())


def end_of(parts: Parts, duration: str) -> datetime:
    """Return the instant at which a duration from now ends. Raises ProblemError 422."""
    try:
        return parts.context.clock() + parse_duration(duration)
    except (ValueError, OverflowError) as error:
        raise ProblemError(422, "invalid", f"for: {error}", ["for"]) from None


def record(parts: Parts, made: Entry) -> None:
    """Record an action in the audit log."""
    with parts.context.store.transaction() as transaction:
        audit.record(transaction, made, parts.context.clock())


def _open(transaction: Transaction, number: int) -> Alert:
    alert = alert_store.load_alert(transaction, number)
    if alert is None or alert.resolved_at is not None:
        raise ProblemError(409, "wrong_state", f"alert {number} is not open")
    return alert


def _literal(text: str) -> str:
    """Return a shell pattern that matches this text alone."""
    return "".join(f"[{one}]" if one in "*?[" else one for one in text)
