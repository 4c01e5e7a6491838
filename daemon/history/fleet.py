"""The statements about the workers of a fleet."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from daemon.history.worker import Worker, parse_worker
from store.store import Transaction
from store.timestamps import from_text, to_text

WORKER_STATES = ("working", "drained", "silent", "stopped")

_ALL = "SELECT * FROM worker ORDER BY name"
_SIGN = """
    INSERT INTO worker (name, process, version, at_once, digest, began_at, seen_at)
    VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (name) DO UPDATE
    SET process = excluded.process, version = excluded.version, at_once = excluded.at_once,
        digest = excluded.digest, seen_at = excluded.seen_at,
        began_at = CASE WHEN worker.process = excluded.process THEN worker.began_at
                   ELSE excluded.began_at END
"""
_DRAIN = "UPDATE worker SET draining = ? WHERE name = ?"
_LEAVE = "UPDATE worker SET process = '' WHERE name = ? AND process = ?"
_FORGET = "DELETE FROM worker WHERE name = ? AND process = '' AND draining = 0"
_REMOVE = "DELETE FROM worker WHERE name = ?"
_RUNNING = """
    SELECT worker, count(*) AS runs FROM run WHERE state = 'running' GROUP BY worker
"""


@dataclass(frozen=True, slots=True)
class FleetWorker:
    """A worker of the fleet, as it was at its last sign of life."""

    name: str
    process: str
    """As `str` of a Worker; empty for one that has stopped while it was drained."""
    version: str
    at_once: int
    digest: str
    """Of its configuration, without the parts of its machine."""
    began_at: datetime
    seen_at: datetime
    draining: bool

    @property
    def worker(self) -> Worker | None:
        """Return its process; None for one that has stopped."""
        return parse_worker(self.process)

    def state(self, now: datetime, stalled_after: timedelta) -> str:
        """Return its state, one of WORKER_STATES."""
        working, drained, silent, stopped = WORKER_STATES
        if not self.process:
            return stopped
        if now - self.seen_at > stalled_after:
            return silent
        return drained if self.draining else working

    def is_up(self, now: datetime, stalled_after: timedelta) -> bool:
        """Return whether it gives signs of life."""
        return self.state(now, stalled_after) in {"working", "drained"}


def load_workers(transaction: Transaction) -> list[FleetWorker]:
    """Return the workers by name."""
    return [
        FleetWorker(
            row["name"],
            row["process"],
            row["version"],
            row["at_once"],
            row["digest"],
            from_text(row["began_at"]),
            from_text(row["seen_at"]),
            bool(row["draining"]),
        )
        for row in transaction.rows(_ALL)
    ]


def sign(
    transaction: Transaction, name: str, process: str, about: tuple[str, int, str], now: datetime
) -> None:
    """Record a sign of life of a worker.

    `about` is its version, how much it takes at once, and the digest of its configuration.
    """
    transaction.execute(_SIGN, (name, process, *about, to_text(now), to_text(now)))


def drain(transaction: Transaction, name: str, *, draining: bool) -> None:
    """Let a worker take nothing more, or take work again; one that has stopped is forgotten."""
    transaction.execute(_DRAIN, (int(draining), name))
    transaction.execute(_FORGET, (name,))


def leave(transaction: Transaction, name: str, process: str) -> None:
    """Record that a worker has stopped: only a drained one is remembered."""
    transaction.execute(_LEAVE, (name, process))
    transaction.execute(_FORGET, (name,))


def remove(transaction: Transaction, name: str) -> None:
    """Remove a worker that has died."""
    transaction.execute(_REMOVE, (name,))


def count_running(transaction: Transaction) -> dict[str, int]:
    """Return the number of running runs by process."""
    return {row["worker"]: row["runs"] for row in transaction.rows(_RUNNING)}
