"""The statements about requests through the HTTP interface."""

from dataclasses import dataclass
from datetime import datetime

from store.store import Row, Transaction
from store.timestamps import to_text

_INSERT = """
    INSERT INTO web_request (id, action, database, subject, principal, body, idempotency_key,
                             state, created_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, 'waiting', ?)
"""
_BY_KEY = "SELECT * FROM web_request WHERE principal = ? AND idempotency_key = ?"
_ONE = "SELECT * FROM web_request WHERE id = ?"
_WAITING = "SELECT * FROM web_request WHERE state = 'waiting' ORDER BY created_at, rowid"
_TAKE = "UPDATE web_request SET state = 'running' WHERE id = ? AND state = 'waiting'"
_END = """
    UPDATE web_request SET state = ?, answer = ?, error = ?, finished_at = ? WHERE id = ?
"""
_LEFT = """
    SELECT w.id, r.id AS run, r.state, r.reason FROM web_request w
    LEFT JOIN run r ON r.request = w.id
    WHERE w.state = 'running' OR w.state = 'waiting' AND w.created_at < ?
"""
_PLANS = """
    SELECT id, database, subject, principal, body, state, action, error, created_at, finished_at
    FROM web_request WHERE action = 'plan' ORDER BY created_at DESC, rowid DESC LIMIT ?
"""
_FREE = "UPDATE web_request SET idempotency_key = '' WHERE id = ?"
_PURGE = "DELETE FROM web_request WHERE created_at < ? AND state NOT IN ('waiting', 'running')"


@dataclass(frozen=True, slots=True)
class WebRequest:
    """A request, before it is carried out."""

    id: str
    action: str
    database: str
    subject: str
    principal: str
    body: str
    key: str


def add(transaction: Transaction, request: WebRequest, now: datetime) -> None:
    """Add a request that waits to be carried out."""
    values = (request.id, request.action, request.database, request.subject, request.principal)
    transaction.execute(_INSERT, (*values, request.body, request.key, to_text(now)))


def of_key(transaction: Transaction, principal: str, key: str) -> Row | None:
    """Return the request that a principal made with an idempotency key."""
    return transaction.row(_BY_KEY, (principal, key)) if key else None


def load(transaction: Transaction, number: str) -> Row | None:
    """Return a request by its id."""
    return transaction.row(_ONE, (number,))


def waiting(transaction: Transaction) -> list[Row]:
    """Return the requests that wait, oldest first."""
    return transaction.rows(_WAITING)


def take(transaction: Transaction, number: str) -> bool:
    """Take a request that waits; return whether it was still there."""
    return transaction.execute(_TAKE, (number,)) == 1


def end(transaction: Transaction, number: str, answer: str, error: str, now: datetime) -> None:
    """Record the end of a request."""
    state = "failed" if error else "done"
    transaction.execute(_END, (state, answer, error, to_text(now), number))


def load_left(transaction: Transaction, before: datetime) -> list[Row]:
    """Return the requests of a process that died, and those that waited since before a time.

    Each with the number and end of its run, if it had begun one.
    """
    return transaction.rows(_LEFT, (to_text(before),))


def free_key(transaction: Transaction, number: str) -> None:
    """Let the key of a request be used again: nothing was done with it."""
    transaction.execute(_FREE, (number,))


def load_plans(transaction: Transaction, most: int) -> list[Row]:
    """Return the last dry runs, newest first."""
    return transaction.rows(_PLANS, (most,))


def purge(transaction: Transaction, before: datetime) -> None:
    """Delete requests from before a time."""
    transaction.execute(_PURGE, (to_text(before),))
