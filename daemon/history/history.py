"""What ran, how it ended, and what is remembered of each object: the statements over the daemon's own tables."""

import json
import os
from collections.abc import Mapping, Sequence
from datetime import datetime

from domain.finding import Finding
from domain.memory import Measure, Memory
from domain.task import Task, Trigger
from execution.step import Outcome, Status, Step
from store.store import Row, Transaction, Value
from store.timestamps import from_text, to_text

_BEGIN = """
    INSERT INTO run (job, scope, database, schedule, nominal, started_at, state, process)
    VALUES (?, ?, ?, ?, ?, ?, 'running', ?)
"""
_UNRECORDED = """
    UPDATE run SET state = 'interrupted', reason = 'its end could not be recorded', finished_at = ?
    WHERE job = ? AND database = ? AND schedule IS ? AND process = ? AND state = 'running'
"""
_FINISH = """
    UPDATE run SET state = ?, reason = ?, steps_left = ?, finished_at = ?,
                   paused_seconds = (SELECT coalesce(sum(paused_seconds), 0) FROM step WHERE run = run.id)
    WHERE id = ?
"""
_STEP = """
    INSERT INTO step (run, ordinal, name, object, status, reason, rows, bytes, seconds, paused_seconds, paused_by,
                      finished_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_FINDING = """
    INSERT INTO finding (run, kind, database, object, severity, summary, value, remedy, evidence, found_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_REMEMBER = """
    INSERT INTO object_memory (job, database, object, last_success, seconds, bytes, evidence)
    VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (job, database, object) DO UPDATE
    SET last_success = excluded.last_success, seconds = excluded.seconds, bytes = excluded.bytes,
        evidence = excluded.evidence
"""
_MEASURE = "INSERT INTO measure (run, name, database, object, value, taken_at) VALUES (?, ?, ?, ?, ?, ?)"
_MEMORY = "SELECT object, seconds, bytes, evidence FROM object_memory WHERE job = ? AND database = ?"
_ORPHANED = "SELECT id, job, database, schedule, process FROM run WHERE state = 'running'"
_INTERRUPT = "UPDATE run SET state = 'interrupted', reason = ?, finished_at = ? WHERE id = ? AND state = 'running'"
_DONE = """
    SELECT 1 AS done FROM run
    WHERE schedule = ? AND nominal = ? AND job = ? AND database = ? AND state NOT IN ('running', 'interrupted')
"""
_GONE_ON = """
    SELECT 1 AS done FROM run
    WHERE schedule = ? AND nominal >= ? AND job = ? AND database = ? AND state <> 'interrupted'
"""
_TRIED = "SELECT 1 AS one FROM run WHERE schedule = ? AND nominal = ?"
_ENDS = """
    SELECT job, database, state FROM run
    WHERE id IN (SELECT max(id) FROM run WHERE schedule = ? AND nominal = ? GROUP BY job, scope, database) ORDER BY id
"""
_SINCE = "SELECT value FROM instance WHERE name = ?"
_KNOWN_SINCE = """
    INSERT INTO instance (name, value) VALUES (?, ?)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE value > excluded.value
"""
_ENDED = "SELECT count(*) AS runs FROM run WHERE finished_at < ?"
_FORGET = "DELETE FROM run WHERE finished_at < ?"
_RUNS = "SELECT * FROM run ORDER BY id DESC LIMIT ?"
_RUN = "SELECT * FROM run WHERE id = ?"
_STEPS = "SELECT * FROM step WHERE run = ? ORDER BY ordinal"
_FINDINGS = "SELECT * FROM finding WHERE run = ? ORDER BY rowid"
_TARGET = "SELECT system_identifier, database_oid FROM target WHERE database = ?"
_MEET = """
    INSERT INTO target (database, system_identifier, database_oid, first_seen) VALUES (?, ?, ?, ?)
    ON CONFLICT (database) DO UPDATE
    SET system_identifier = excluded.system_identifier, database_oid = excluded.database_oid
"""


Ended = tuple[Step, Outcome]












def begin(transaction: Transaction, task: Task, now: datetime) -> int:
    """Record that a run begins; return its number. One of the same that this process could not end has ended."""
    trigger = task.trigger
    transaction.execute(_UNRECORDED, (to_text(now), task.job, task.database, trigger.schedule, os.getpid()))
    values = (task.job, task.scope, task.database, trigger.schedule, trigger.minute(), to_text(now), os.getpid())
    return transaction.insert(_BEGIN, values)


def finish(transaction: Transaction, run: int, end: tuple[str, str, int], now: datetime) -> None:
    """Record a run's state, reason and steps left."""
    state, reason, left = end
    transaction.execute(_FINISH, (state, reason, left, to_text(now), run))


def steps_done(transaction: Transaction, run: int, first: int, ended: Sequence[Ended], now: datetime) -> None:
    """Record what steps did, numbered from `first` on."""
    at = to_text(now)
    rows = (_step_row(run, first + number, one, at) for number, one in enumerate(ended))
    transaction.execute_many(_STEP, rows)


def _step_row(run: int, ordinal: int, ended: Ended, at: str) -> tuple[Value, ...]:
    what, outcome = ended
    values = (what.name, what.object, outcome.status.value, outcome.reason, outcome.rows, outcome.bytes)
    paused = sum(outcome.paused.values())
    return (run, ordinal, *values, outcome.seconds, paused, ", ".join(outcome.paused), at)


def finding(transaction: Transaction, run: int, found: Finding, now: datetime) -> None:
    """Record what was found."""
    identity = found.identity
    evidence = json.dumps(dict(found.evidence), default=str, ensure_ascii=False)
    values = (
        identity.kind,
        identity.database,
        identity.object,
        found.severity.value,
        found.summary,
        found.value,
    )
    transaction.execute(_FINDING, (run, *values, found.remedy, evidence, to_text(now)))


def remember(transaction: Transaction, job: str, database: str, ended: Sequence[Ended], now: datetime) -> None:
    """Keep what the next plan wants to know of each object whose step succeeded, or why it was in vain."""
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
        if outcome.status is Status.DONE or (outcome.status is Status.INEFFECTIVE and outcome.evidence)
    )
    transaction.execute_many(_REMEMBER, rows)


def measure(transaction: Transaction, run: int, measures: Sequence[Measure], now: datetime) -> None:
    """Keep what was measured."""
    at = to_text(now)
    transaction.execute_many(_MEASURE, [(run, one.name, one.database, one.object, one.value, at) for one in measures])


def memory(transaction: Transaction, job: str, database: str) -> Mapping[str, Memory]:
    """Return what is known of every object of a job in a database."""
    return {
        row["object"]: Memory(row["seconds"], row["bytes"], json.loads(row["evidence"]))
        for row in transaction.rows(_MEMORY, (job, database))
    }


def orphaned(transaction: Transaction) -> list[Row]:
    """Return the runs that are recorded as running."""
    return transaction.rows(_ORPHANED)


def interrupt(transaction: Transaction, run: int, reason: str, now: datetime) -> None:
    """Record that a run's process died in the middle of it."""
    transaction.execute(_INTERRUPT, (reason, to_text(now), run))


def accounted(transaction: Transaction, task: Task) -> bool:
    """Say whether that due run has happened, or was decided on."""
    due = (task.trigger.schedule, task.trigger.minute(), task.job, task.database)
    return transaction.row(_DONE, due) is not None


def gone_on(transaction: Transaction, task: Task) -> bool:
    """Say whether that due run, or a later one that several missed ones have become, happens or has happened."""
    due = (task.trigger.schedule, task.trigger.minute(), task.job, task.database)
    return transaction.row(_GONE_ON, due) is not None


def tried(transaction: Transaction, trigger: Trigger) -> bool:
    """Say whether anything of a due time has begun."""
    return transaction.row(_TRIED, (trigger.schedule, trigger.minute())) is not None


def ends(transaction: Transaction, trigger: Trigger) -> list[tuple[str, str]]:
    """Return how each task of a due time has ended, the last time that it was tried: its place, its state."""
    rows = transaction.rows(_ENDS, (trigger.schedule, trigger.minute()))
    return [(f"{row['job']} {row['database']}".strip(), row["state"]) for row in rows]


def known_since(transaction: Transaction, task: Task, cron: str, now: datetime) -> datetime:
    """Return since when this file knows that a task is planned so (from now on, if it is new).

    An instant that is still to come was written while the clock was ahead: it would owe nothing until then.
    """
    transaction.execute(_KNOWN_SINCE, (_planned(task, cron), to_text(now)))
    return planned_since(transaction, task, cron) or now


def planned_since(transaction: Transaction, task: Task, cron: str) -> datetime | None:
    """Return since when a task is planned so; None: nobody has looked yet."""
    row = transaction.row(_SINCE, (_planned(task, cron),))
    return from_text(row["value"]) if row else None


def _planned(task: Task, cron: str) -> str:
    return f"planned {task.trigger.schedule} {cron} {task.job} {task.database}"


def ended(transaction: Transaction, before: datetime) -> int:
    """Count the runs that ended before."""
    return int(str(transaction.rows(_ENDED, (to_text(before),))[0]["runs"]))


def forget(transaction: Transaction, before: datetime) -> None:
    """Forget them, with their steps, findings and measures."""
    transaction.execute(_FORGET, (to_text(before),))


def runs(transaction: Transaction, limit: int) -> list[Row]:
    """Return the newest runs first."""
    return transaction.rows(_RUNS, (limit,))


def run(transaction: Transaction, number: int) -> Row | None:
    """Return one run."""
    return transaction.row(_RUN, (number,))


def steps(transaction: Transaction, number: int) -> list[Row]:
    """Return the steps of a run in order."""
    return transaction.rows(_STEPS, (number,))


def findings(transaction: Transaction, number: int) -> list[Row]:
    """Return the findings of a run."""
    return transaction.rows(_FINDINGS, (number,))


def acquainted(transaction: Transaction, database: str) -> tuple[str, int] | None:
    """Return which server (system identifier, database oid) was behind a name the first time."""
    row = transaction.row(_TARGET, (database,))
    return None if row is None else (row["system_identifier"], row["database_oid"])


def meet(transaction: Transaction, database: str, identity: tuple[str, int], now: datetime) -> None:
    """Take the server behind a name for the right one."""
    transaction.execute(_MEET, (database, *identity, to_text(now)))
