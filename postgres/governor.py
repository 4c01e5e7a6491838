"""When to hold back. Each signal is a pure function of one sample; any single one pauses.

A signal that cannot be read is `unknown`: it pauses as well and is named, never taken for good.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from psycopg import sql

from postgres.connection import Session


@dataclass(frozen=True, slots=True)
class Replica:
    """One row of pg_stat_replication; None where the login may not see it."""

    name: str
    lag_seconds: float | None
    lag_bytes: int | None


@dataclass(frozen=True, slots=True)
class Sample:
    """What was seen at one moment."""

    flag_file: Path | None = None
    paused: bool = False
    """Whether `sereno pause` holds."""
    lock_waiters: int = 0
    replicas: Sequence[Replica] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """Where each signal begins to pause."""

    replica_lag_seconds: float = 10.0
    replica_lag_bytes: int = 64 * 1024 * 1024
    lock_waiters: int = 1


Signal = Callable[[Sample, Limits], str | None]


def flag_file(sample: Sample, _limits: Limits) -> str | None:
    """Pause while the operator's flag file is there."""
    return f"flag file {sample.flag_file}" if sample.flag_file else None


def operator(sample: Sample, _limits: Limits) -> str | None:
    """Pause while `sereno pause` holds."""
    return "sereno pause" if sample.paused else None


def lock_waiters(sample: Sample, limits: Limits) -> str | None:
    """Pause when somebody waited for a lock of ours."""
    return "lock waiter" if sample.lock_waiters >= limits.lock_waiters else None


def replica_lag(sample: Sample, limits: Limits) -> str | None:
    """Pause while a standby is behind by time and by bytes (an idle primary reports old times and no bytes)."""
    for replica in sample.replicas:
        if replica.lag_bytes is None:
            return "replica lag unknown (needs pg_monitor)"
        if replica.lag_bytes >= limits.replica_lag_bytes:
            return "replica lag"
        if (replica.lag_seconds or 0.0) >= limits.replica_lag_seconds and replica.lag_bytes > 0:
            return "replica lag"
    return None


SIGNALS: tuple[Signal, ...] = (operator, flag_file, lock_waiters, replica_lag)

_REPLICAS = sql.SQL(
    """
    SELECT coalesce(application_name, '') AS name,
           extract(epoch FROM replay_lag)::float8 AS lag_seconds,
           pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)::bigint AS lag_bytes
    FROM pg_catalog.pg_stat_replication
    WHERE state IS DISTINCT FROM 'backup'
    """
)


def hold(sample: Sample, limits: Limits) -> str | None:
    """Return the reason to pause, or None."""
    for signal in SIGNALS:
        reason = signal(sample, limits)
        if reason:
            return reason
    return None


def replicas(session: Session) -> tuple[Replica, ...]:
    """Look at the standbys of the session's server."""
    return tuple(Replica(**row) for row in session.rows(_REPLICAS))


def present(path: Path | None) -> Path | None:
    """Return the flag file if it is there; one that cannot be looked at counts as there."""
    if path is None:
        return None
    try:
        path.lstat()
    except FileNotFoundError:
        return None
    except OSError:
        return path
    return path
