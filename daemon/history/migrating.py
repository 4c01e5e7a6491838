"""The statements about migrations in the store: progress, the copy of the ledgers, batch limits."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from store.store import Row, Transaction
from store.timestamps import to_text

LONGEST_NUMBER = 18
"""The most digits of a number of SQLite."""

_PROGRESS = """
    INSERT INTO run_progress (run, step, number, steps, done, total, rate, batch, reason,
                              throttled_seconds, attempts, rung_ms, blockers, moved_at)
    VALUES (:run, :step, :number, :steps, :done, :total, :rate, :batch, :reason,
            :throttled_seconds, :attempts, :rung_ms, :blockers, :moved_at)
    ON CONFLICT (run) DO UPDATE SET
      step = excluded.step, number = excluded.number, steps = excluded.steps,
      done = excluded.done, total = excluded.total, rate = excluded.rate, batch = excluded.batch,
      reason = excluded.reason, throttled_seconds = excluded.throttled_seconds,
      attempts = excluded.attempts, rung_ms = excluded.rung_ms, blockers = excluded.blockers,
      moved_at = excluded.moved_at
"""
_FORGET = "DELETE FROM migration_state WHERE database = ?"
_STATE = """
    INSERT INTO migration_state (database, migration, title, checksum, phase, state, reason, next,
                                 problem, gates, waivers, since, as_of)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_STATES = "SELECT * FROM migration_state ORDER BY database, migration"
_LIMIT = """
    INSERT INTO batch_limit (database, migration, keys, principal, set_at) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (database, migration) DO UPDATE
    SET keys = excluded.keys, principal = excluded.principal, set_at = excluded.set_at
"""
_UNLIMITED = "DELETE FROM batch_limit WHERE database = ? AND migration = ?"
_LIMITED = "SELECT keys FROM batch_limit WHERE database = ? AND migration = ?"
_RUNS = """
    SELECT r.id, r.request, r.subject, r.database, r.state, r.reason, r.cause, r.principal,
           r.request_action AS action, r.request_reason AS asked, r.started_at,
           r.finished_at, r.process, r.worker, coalesce(p.step, '') AS step,
           86400.0 * (julianday(coalesce(r.finished_at, r.started_at)) - julianday(r.started_at))
             AS seconds
    FROM run r LEFT JOIN run_progress p ON p.run = r.id
    WHERE r.job = ?
"""
_NEWEST = f"{_RUNS} ORDER BY r.id DESC LIMIT ?"
_RUN = f"{_RUNS} AND (r.request = ? OR r.id = ?) ORDER BY r.id DESC LIMIT 1"
_TOTALS = """
    SELECT count(*) AS total, count(*) FILTER (WHERE state = 'finished') AS finished,
           count(*) FILTER (WHERE state = 'failed') AS failed,
           avg(CASE WHEN state = 'finished'
               THEN 86400.0 * (julianday(finished_at) - julianday(started_at)) END) AS seconds
    FROM run WHERE job = ? AND finished_at IS NOT NULL
"""
_LEAVE = """
    DELETE FROM migration_state WHERE database NOT IN (SELECT value FROM json_each(?))
"""
_LATEST = """
    SELECT p.*, r.subject, r.database, r.request, r.state, r.started_at, r.process, r.worker
    FROM run_progress p JOIN run r ON r.id = p.run
    WHERE (? = '' OR r.subject = ?) AND (? = '' OR r.database = ?) AND (? = '' OR r.request = ?)
    ORDER BY p.run DESC LIMIT 1
"""
_LATEST_OF_ALL = """
    SELECT r.subject, r.database, p.done, p.total
    FROM run_progress p JOIN run r ON r.id = p.run
    WHERE p.run IN (SELECT max(q.run) FROM run_progress q JOIN run s ON s.id = q.run
                    WHERE s.job = ? GROUP BY s.subject, s.database)
    ORDER BY r.subject, r.database
"""
_OPEN = """
    SELECT p.*, r.subject, r.database, r.request, r.state, r.started_at, r.process, r.worker
    FROM run_progress p JOIN run r ON r.id = p.run
    WHERE r.job = ? AND r.state = 'running' ORDER BY r.id
"""
_SUMS = """
    SELECT r.subject, sum(p.throttled_seconds) AS throttled_seconds, sum(p.attempts) AS attempts,
           max(p.moved_at) AS moved_at
    FROM run_progress p JOIN run r ON r.id = p.run WHERE r.job = ? GROUP BY r.subject
"""


@dataclass(frozen=True, slots=True)
class MigrationRow:
    """One migration of one database, as the ledger had it."""

    migration: str
    title: str
    checksum: str
    phase: str
    state: str
    reason: str
    next: str
    problem: str
    gates: Sequence[Mapping[str, Any]]
    waivers: int
    since: datetime | None


def record_progress(transaction: Transaction, values: Mapping[str, Any]) -> None:
    """Record how far a run has come."""
    transaction.execute(_PROGRESS, values)


def replace_states(
    transaction: Transaction, database: str, rows: Sequence[MigrationRow], now: datetime
) -> None:
    """Replace the copy of the ledger of a database."""
    transaction.execute(_FORGET, (database,))
    transaction.execute_many(
        _STATE,
        [
            (
                *(database, one.migration, one.title, one.checksum, one.phase, one.state),
                *(one.reason, one.next, one.problem, json.dumps(list(one.gates)), one.waivers),
                to_text(one.since) if one.since else None,
                to_text(now),
            )
            for one in rows
        ],
    )


def load_states(transaction: Transaction) -> list[Row]:
    """Return the copies of the ledgers."""
    return transaction.rows(_STATES)


def limit_batches(
    transaction: Transaction, place: tuple[str, str], keys: int, principal: str, now: datetime
) -> None:
    """Set the most keys of a batch of a database and migration; 0 removes the limit."""
    if keys:
        transaction.execute(_LIMIT, (*place, keys, principal, to_text(now)))
    else:
        transaction.execute(_UNLIMITED, place)


def batch_limit(transaction: Transaction, database: str, migration: str) -> int | None:
    """Return the most keys of a batch; None without a limit."""
    row = transaction.row(_LIMITED, (database, migration))
    return int(row["keys"]) if row else None


def load_runs(transaction: Transaction, job: str, most: int) -> list[Row]:
    """Return the last runs of a job, newest first, with their duration and last step."""
    return transaction.rows(_NEWEST, (job, most))


def find_run(transaction: Transaction, job: str, name: str) -> Row | None:
    """Return a run of a job by the id of its request or, as digits, by its number."""
    number = int(name) if name.isdecimal() and len(name) <= LONGEST_NUMBER else None
    return transaction.row(_RUN, (job, name, number))


def latest_progress(
    transaction: Transaction, subject: str = "", database: str = "", request: str = ""
) -> Row | None:
    """Return the progress of the newest run of a migration, in a database, or of a request."""
    return transaction.row(_LATEST, (subject, subject, database, database, request, request))


def latest_progress_of_all(transaction: Transaction, job: str) -> list[Row]:
    """Return the rows done by the newest run of each migration in each database."""
    return transaction.rows(_LATEST_OF_ALL, (job,))


def load_totals(transaction: Transaction, job: str) -> Row:
    """Return the number of runs that have ended, by result, and the average of finished ones."""
    return transaction.rows(_TOTALS, (job,))[0]


def forget_states(transaction: Transaction, databases: Sequence[str]) -> None:
    """Delete the copies of the ledgers of all but some databases."""
    transaction.execute(_LEAVE, (json.dumps(list(databases)),))


def open_progress(transaction: Transaction, job: str) -> list[Row]:
    """Return the progress of the running runs of a job."""
    return transaction.rows(_OPEN, (job,))


def sum_progress(transaction: Transaction, job: str) -> list[Row]:
    """Return the pauses and lock attempts of all runs, by subject."""
    return transaction.rows(_SUMS, (job,))
