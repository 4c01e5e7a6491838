"""The only one who acts: it calls `apply`, and understands how a step ended."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import psycopg
from psycopg import errors, sql

from postgres.connection import Session
from postgres.pace import RETRYABLE, Halted, Pace, Stop, Terms
from postgres.step import Outcome, Status, Step

GRACE_SECONDS = 1.0

_REASONS = {
    Stop.WINDOW: "the window ended",
    Stop.THROTTLED: "held back too long",
    Stop.INTERRUPTED: "interrupted",
}

_THROTTLED = Outcome(Status.UNFINISHED, _REASONS[Stop.THROTTLED], stop=Stop.THROTTLED)

_HOLDERS = sql.SQL(
    """
    SELECT l.pid, coalesce(nullif(a.application_name, ''), a.backend_type, 'unknown') AS application,
           coalesce(extract(epoch FROM now() - a.xact_start), 0)::float8 AS age
    FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a USING (pid)
    WHERE l.relation = to_regclass(%(relation)s) AND l.granted AND l.pid <> pg_backend_pid()
      AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
    ORDER BY a.xact_start NULLS LAST LIMIT 1
    """
)


class Executor:
    """Runs steps one by one, each under the terms of its run."""

    def __init__(self, terms: Terms, session: Session | None) -> None:
        self._terms = terms
        self._session = session

    def run(self, steps: Sequence[Step]) -> Iterator[tuple[Step, Outcome]]:
        """Yield every step with what came of it, those not begun too; one step's failure stops no other."""
        given_up = False
        for number, step in enumerate(steps, 1):
            self._terms.progress.begin(f"{step.name} {step.object}", number, len(steps))
            outcome = _THROTTLED if given_up else self._one(step)
            given_up = outcome.stop is Stop.THROTTLED
            self._terms.progress.end(outcome.status, outcome.reason)
            yield step, outcome

    def _one(self, step: Step) -> Outcome:
        pace = Pace(self._terms, step.limit_seconds)
        began = time.monotonic()
        try:
            pace.proceed()
            if self._terms.window.fits(step.predicted_seconds):
                outcome = step.apply(self._session, pace)
            else:
                pace.stopped = Stop.WINDOW
                outcome = Outcome(
                    Status.UNFINISHED, f"would take about {step.predicted_seconds:.0f} s, longer than is left"
                )
        except Halted:
            outcome = Outcome(Status.UNFINISHED, _REASONS[pace.stopped or Stop.WINDOW], rows=pace.rows)
        except (psycopg.Error, OSError) as error:
            outcome = replace(self._understand(error, step, pace), rows=pace.rows)
        seconds = max(0.0, time.monotonic() - began - sum(pace.paused.values()))
        stop = pace.stopped if outcome.status is Status.UNFINISHED else None
        return replace(outcome, seconds=seconds, paused=pace.paused, stop=stop)

    def _understand(self, error: Exception, step: Step, pace: Pace) -> Outcome:
        line = first_line(error)
        if isinstance(error, errors.InsufficientPrivilege):
            return Outcome(Status.SKIPPED, f"no privilege: {line}")
        if isinstance(error, RETRYABLE):
            return Outcome(Status.SKIPPED, f"{line}{self._blocker(step)}; tried again and again")
        if isinstance(error, errors.QueryCanceled):
            return self._cancelled(line, pace)
        return Outcome(Status.FAILED, line)

    def _cancelled(self, line: str, pace: Pace) -> Outcome:
        """Tell a stop of ours, the end of the window, the step's own limit and somebody else's cancel apart."""
        if self._terms.stop.is_set():
            pace.stopped = Stop.INTERRUPTED
        elif self._terms.window.left() <= GRACE_SECONDS:
            pace.stopped = Stop.WINDOW
        else:
            return Outcome(Status.FAILED, line)
        return Outcome(Status.UNFINISHED, _REASONS[pace.stopped])

    def _blocker(self, step: Step) -> str:
        """Name who stands in the way, as far as the login may see."""
        if self._session is None:
            return ""
        try:
            holders = self._session.rows(_HOLDERS, {"relation": step.object})
        except psycopg.Error:
            return ""
        if not holders:
            return ""
        first = holders[0]
        return f"; in the way: pid {first['pid']} ({first['application']}), in its transaction for {first['age']:.0f} s"


def first_line(error: Exception) -> str:
    """Return an error's own sentence: never its context, which quotes the data of rows."""
    primary = getattr(getattr(error, "diag", None), "message_primary", None)
    lines = (primary or str(error)).strip().splitlines()
    return lines[0] if lines else type(error).__name__
