"""The statements that store finished steps and the memory of their objects."""

import json
from collections.abc import Sequence
from datetime import datetime

from execution.step import Outcome, Status, Step
from store.store import Transaction, Value
from store.timestamps import to_text

_STEP = """
    INSERT INTO step (run, ordinal, name, object, status, reason, rows, bytes, seconds,
                      paused_seconds, paused_by, cause, finished_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

_REMEMBER = """
    INSERT INTO object_memory (job, database, object, last_success, seconds, bytes, evidence)
    VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (job, database, object) DO UPDATE
    SET last_success = excluded.last_success, seconds = excluded.seconds, bytes = excluded.bytes,
        evidence = excluded.evidence
"""


Ended = tuple[Step, Outcome]


def record_steps(
    transaction: Transaction, run: int, first: int, ended: Sequence[Ended], now: datetime
) -> None:
    """Record steps, numbered from `first`."""
    at = to_text(now)
    rows = (_step_row(run, first + number, one, at) for number, one in enumerate(ended))
    transaction.execute_many(_STEP, rows)


def _step_row(run: int, ordinal: int, ended: Ended, at: str) -> tuple[Value, ...]:
    what, outcome = ended
    values = (
        what.name,
        what.object,
        outcome.status.value,
        outcome.reason,
        outcome.rows,
        outcome.bytes,
    )
    paused = sum(outcome.paused.values())
    paused_by, cause = ", ".join(outcome.paused), outcome.cause or ""
    return (run, ordinal, *values, outcome.seconds, paused, paused_by, cause, at)


def record_memory(
    transaction: Transaction, job: str, database: str, ended: Sequence[Ended], now: datetime
) -> None:
    """Store the memory of each object whose step succeeded or was ineffective."""
    at = to_text(now)
    rows = (
        (
            job,
            database,
            what.object,
            at,
            outcome.seconds,
            outcome.bytes,
            json.dumps(dict(outcome.evidence), default=str),
        )
        for what, outcome in ended
        if outcome.status is Status.DONE
        or (outcome.status is Status.INEFFECTIVE and outcome.evidence)
    )
    transaction.execute_many(_REMEMBER, rows)
