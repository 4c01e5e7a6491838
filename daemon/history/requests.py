"""The statements about runs on request: running ones, requests to stop, evidence."""

from datetime import datetime

from store.store import Row, Transaction
from store.timestamps import to_text

_STOP = """
    INSERT INTO stop_request (run, principal, requested_at) VALUES (?, ?, ?)
    ON CONFLICT (run) DO NOTHING
"""
_STOPPED = "SELECT 1 AS one FROM stop_request WHERE run = ?"
_RUNNING = """
    SELECT id, database, subject, principal, started_at, process, worker FROM run
    WHERE job = ? AND state = 'running' AND (? = '' OR subject = ?) ORDER BY id
"""
_EVIDENCE = """
    INSERT INTO migration_evidence (database, migration, checksum, environment, ok, evidence,
                                    recorded_at)
    VALUES (?, ?, ?, ?, ?, ?, ?)
"""
_EVIDENCE_OF = """
    SELECT * FROM migration_evidence
    WHERE migration = ? AND checksum = ? AND database IN ('', ?) ORDER BY id DESC LIMIT 50
"""
_LAST_EVIDENCE = """
    SELECT * FROM migration_evidence WHERE migration = ? ORDER BY id DESC LIMIT 1
"""


def request_stop(transaction: Transaction, run: int, principal: str, now: datetime) -> None:
    """Ask a run to stop."""
    transaction.execute(_STOP, (run, principal, to_text(now)))


def is_stop_requested(transaction: Transaction, run: int) -> bool:
    """Return whether a run was asked to stop."""
    return transaction.row(_STOPPED, (run,)) is not None


def running_requests(transaction: Transaction, job: str, subject: str = "") -> list[Row]:
    """Return the running runs of a job, of one subject or of all."""
    return transaction.rows(_RUNNING, (job, subject, subject))


def record_evidence(
    transaction: Transaction,
    of: tuple[str, str, str, str],
    evidence: str,
    now: datetime,
    *,
    ok: bool,
) -> None:
    """Record the evidence of a rehearsal of a database, migration, checksum and environment."""
    transaction.execute(_EVIDENCE, (*of, int(ok), evidence, to_text(now)))


def evidence_of(
    transaction: Transaction, database: str, migration: str, checksum: str
) -> list[Row]:
    """Return the evidence of a checksum in a database, newest first."""
    return transaction.rows(_EVIDENCE_OF, (migration, checksum, database))


def last_evidence(transaction: Transaction, migration: str) -> Row | None:
    """Return the newest evidence of a migration; None if there is none."""
    return transaction.row(_LAST_EVIDENCE, (migration,))
