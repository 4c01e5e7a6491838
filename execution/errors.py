"""What an error means: how the step that met it has ended."""

from dataclasses import replace

import psycopg
from psycopg import errors, sql

from execution.control import RETRYABLE, Pace, Stop
from execution.step import Outcome, Status, Step
from postgres.session import Session, lost

GRACE_SECONDS = 1.0
"""A cancel so shortly before the end of the window is the end of the window."""

REASONS = {
    Stop.WINDOW: "the window ended",
    Stop.THROTTLED: "held back too long",
    Stop.INTERRUPTED: "interrupted",
}


_HOLDERS = sql.SQL(
    """
    SELECT CASE WHEN l.pid IS NULL THEN 'a prepared transaction'
                ELSE format('pid %%s (%%s), in its transaction for %%s s', l.pid,
                            coalesce(nullif(a.application_name, ''), a.backend_type, 'unknown'),
                            round(coalesce(extract(epoch FROM clock_timestamp() - a.xact_start), 0))) END AS who
    FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a USING (pid)
    WHERE l.relation = to_regclass(%(relation)s) AND l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()
      AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
    ORDER BY a.xact_start NULLS LAST LIMIT 1
    """
)


def understand(error: Exception, step: Step, lane: Session | None, pace: Pace) -> Outcome:
    """Return how a step has ended that raised one of psycopg's errors; the pace knows why it was stopped, if it was."""
    outcome = _understood(error, step, lane, pace)
    return replace(outcome, reason="; ".join([outcome.reason, *getattr(error, "__notes__", ())]))


def _understood(error: Exception, step: Step, lane: Session | None, pace: Pace) -> Outcome:
    line = first_line(error)
    if lost(error):
        pace.stopped = Stop.LOST
        return Outcome(Status.UNFINISHED, line)
    if isinstance(error, errors.InsufficientPrivilege):
        return Outcome(Status.SKIPPED, f"no privilege: {line}")
    if isinstance(error, RETRYABLE):
        return Outcome(Status.SKIPPED, f"{line}{_blocker(step, lane)}; tried again and again", blocked=True)
    if isinstance(error, errors.QueryCanceled):
        return _cancelled(line, pace)
    return Outcome(Status.FAILED, line)


def _cancelled(line: str, pace: Pace) -> Outcome:
    """Tell a stop of ours, the end of the window, the step's own limit and somebody else's cancel apart."""
    if pace.interrupted:
        pace.stopped = Stop.INTERRUPTED
    elif pace.gave_way:
        pace.stopped = Stop.THROTTLED
        return Outcome(Status.UNFINISHED, f"gave way: {pace.gave_way}")
    elif pace.window.left() <= GRACE_SECONDS:
        pace.stopped = Stop.WINDOW
    else:
        return Outcome(Status.FAILED, line)
    return Outcome(Status.UNFINISHED, REASONS[pace.stopped])


def _blocker(step: Step, lane: Session | None) -> str:
    """Name who stands in the way, as far as the login may see."""
    if lane is None:
        return ""
    try:
        holders = lane.rows(_HOLDERS, {"relation": step.object})
    except psycopg.Error:
        return ""
    return f"; in the way: {holders[0]['who']}" if holders else ""


def first_line(error: Exception) -> str:
    """Return an error's own sentence: never its context, which quotes the data of rows."""
    primary = getattr(getattr(error, "diag", None), "message_primary", None)
    lines = (primary or str(error)).strip().splitlines()
    return lines[0] if lines else type(error).__name__
