"""The outcome of a step that raised an error."""

from dataclasses import replace

import psycopg
from psycopg import errors, sql

from domain.cause import Cause
from execution.control import RETRYABLE, StepControl, Stop
from execution.step import Outcome, Status, Step
from postgres.session import Session

GRACE_SECONDS = 1.0
"""A cancel this shortly before the end of the window counts as the end of the window."""

REASONS = {
    Stop.WINDOW: "the window ended",
    Stop.THROTTLED: "paused for longer than governor.patience",
    Stop.INTERRUPTED: "interrupted",
}

SEARCH_PATH = (
    "; a function or trigger of the table needs a search_path, and sereno's sessions have none: "
    "ALTER FUNCTION … SET search_path = …"
)
_UNDEFINED = (errors.UndefinedTable, errors.UndefinedFunction, errors.UndefinedObject)
_HOLDERS = sql.SQL(
    """
    SELECT CASE WHEN l.pid IS NULL THEN 'a prepared transaction'
                ELSE format('pid %%s (%%s), in its transaction for %%s s', l.pid,
                            coalesce(nullif(a.application_name, ''), a.backend_type, 'unknown'),
                            round(coalesce(extract(epoch FROM now() - a.xact_start), 0)))
           END AS who
    FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a USING (pid)
    WHERE l.relation = to_regclass(%(relation)s) AND l.granted
      AND l.pid IS DISTINCT FROM pg_backend_pid()
      AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
    ORDER BY a.xact_start NULLS LAST LIMIT 1
    """
)


def outcome_of(error: Exception, step: Step, lane: Session | None, control: StepControl) -> Outcome:
    """Return the outcome of a step that raised an error of psycopg or an OSError.

    A cancelled statement is told apart by the control: interrupted, window ended, yielded, or
    cancelled by others.
    """
    outcome = _outcome(error, step, lane, control)
    return replace(outcome, reason="; ".join([outcome.reason, *getattr(error, "__notes__", ())]))


def _outcome(error: Exception, step: Step, lane: Session | None, control: StepControl) -> Outcome:
    line = first_line(error)
    # class 08 may come from a foreign server (postgres_fdw, dblink): the connection itself decides
    if lane is not None and lane.broken:
        control.stopped = Stop.LOST
        return Outcome(Status.UNFINISHED, line)
    if isinstance(error, errors.InsufficientPrivilege):
        return Outcome(Status.SKIPPED, f"no privilege: {line}", cause=Cause.NO_PRIVILEGE)
    if isinstance(error, RETRYABLE):
        reason = f"{line}{_blocker(step, lane)}; retried without success"
        return Outcome(Status.SKIPPED, reason, cause=Cause.LOCKED)
    if isinstance(error, errors.QueryCanceled):
        return _cancelled(line, control)
    if isinstance(error, _UNDEFINED) and error.diag.context:
        # the context is the call stack; sereno's own statements have none
        return Outcome(Status.FAILED, line + SEARCH_PATH, cause=Cause.ERROR)
    return Outcome(Status.FAILED, line, cause=Cause.ERROR)


def _cancelled(line: str, control: StepControl) -> Outcome:
    if control.interrupted:
        control.stopped = Stop.INTERRUPTED
    elif control.yielded_to:
        control.stopped = Stop.THROTTLED
        return Outcome(Status.UNFINISHED, f"yielded: {control.yielded_to}")
    elif control.window.left() <= GRACE_SECONDS:
        control.stopped = Stop.WINDOW
    else:
        return Outcome(Status.FAILED, line, cause=Cause.ERROR)
    return Outcome(Status.UNFINISHED, stop_reason(control))


def stop_reason(control: StepControl) -> str:
    """Return why a step was stopped; of a throttled one, what it waited for the longest."""
    stop = control.stopped or Stop.WINDOW
    if stop is Stop.THROTTLED and control.paused:
        return f"{REASONS[stop]}: {max(control.paused, key=control.paused.__getitem__)}"
    return REASONS[stop]


def _blocker(step: Step, lane: Session | None) -> str:
    """Return the oldest holder of a lock on the step's object, as far as the login may see it."""
    if lane is None:
        return ""
    try:
        holders = lane.rows(_HOLDERS, {"relation": step.object})
    except psycopg.Error:
        return ""
    if holders:
        return f"; blocked by {holders[0]['who']}"
    return ""


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, never its context: that quotes rows."""
    primary = getattr(getattr(error, "diag", None), "message_primary", None)
    lines = (primary or str(error)).strip().splitlines()
    if lines:
        return lines[0]
    return type(error).__name__
