"""The governor: signals that pause sereno's work. Each is a pure function of one sample.

A signal states how many times its limit is exceeded. From 1 on it pauses between two pieces of
work; from `critical` on it also cancels a statement in flight. A signal that cannot be read is
unknown: it pauses and is named.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

UNLIMITED = float("inf")


@dataclass(frozen=True, slots=True)
class Replica:
    """One row of pg_stat_replication; None where the login lacks the right to see it."""

    name: str
    lag_seconds: float | None
    lag_bytes: int | None


@dataclass(frozen=True, slots=True)
class Sample:
    """The state of the server and host at one moment."""

    flag_file: Path | None = None
    paused: bool = False
    """Whether `sereno pause` is in force."""
    lock_waiters: int = 0
    replicas: Sequence[Replica] = ()
    archive_backlog: int | None = 0
    """WAL files waiting for the archiver; None if the login may not see them."""
    slot_bytes: int = 0
    """WAL bytes retained by the slowest replication slot."""
    free_disk: float | None = None
    """Free share of the data directory's mount; None if it is on another host."""
    active: int = 0
    """Other sessions that are running a statement."""
    backup: str = ""
    """A running base backup, or a pg_dump of this database."""
    query: str = ""
    """The answer of the user's own query."""
    migration: str = ""
    """The session of a migration that is changing tables."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The value at which each signal pauses; `critical` times as much cancels."""

    replica_lag_seconds: float = 10.0
    replica_lag_bytes: int = 64 * 1024 * 1024
    lock_waiters: int = 1
    archive_backlog: int = 100
    slot_bytes: int = 16 * 1024**3
    free_disk: float = 0.05
    active: float = UNLIMITED
    backups: bool = True
    migrations: bool = True
    """Whether to pause for a migration: not in its own run."""
    critical: float = 3.0


@dataclass(frozen=True, slots=True)
class Pressure:
    """The value of one signal, as a multiple of its limit."""

    reason: str
    times: float


Signal = Callable[[Sample, Limits], Pressure]


def paused_by_operator(sample: Sample, _limits: Limits) -> Pressure:
    """Pause while `sereno pause` is in force."""
    return Pressure("sereno pause", float(sample.paused))


def flag_file(sample: Sample, _limits: Limits) -> Pressure:
    """Pause while the operator's flag file exists."""
    return Pressure(f"flag file {sample.flag_file}", float(sample.flag_file is not None))


def lock_waiters(sample: Sample, limits: Limits) -> Pressure:
    """Pause after a session waited for one of our locks."""
    return Pressure(
        "a session waits for our lock", float(sample.lock_waiters >= limits.lock_waiters)
    )


def replica_lag(sample: Sample, limits: Limits) -> Pressure:
    """Pause while a standby lags by time and by bytes.

    An idle primary reports old times and no bytes.
    """
    if any(replica.lag_bytes is None for replica in sample.replicas):
        return Pressure("replica lag unknown (needs pg_monitor)", 1.0)
    times = [0.0]
    for replica in sample.replicas:
        lag = replica.lag_bytes or 0
        times.append(lag / limits.replica_lag_bytes)
        if lag > 0:
            times.append((replica.lag_seconds or 0.0) / limits.replica_lag_seconds)
    return Pressure("replica lag", max(times))


def archive_backlog(sample: Sample, limits: Limits) -> Pressure:
    """Pause while WAL waits for the archiver, since maintenance produces more."""
    if sample.archive_backlog is None:
        return Pressure("WAL archive backlog unknown (needs pg_monitor)", 1.0)
    return Pressure("WAL archive backlog", sample.archive_backlog / limits.archive_backlog)


def slot(sample: Sample, limits: Limits) -> Pressure:
    """Pause while a replication slot retains too much WAL."""
    return Pressure("WAL retained by a replication slot", sample.slot_bytes / limits.slot_bytes)


def free_disk(sample: Sample, limits: Limits) -> Pressure:
    """Pause while the disk of the data directory is nearly full."""
    if sample.free_disk is None:
        return Pressure("free disk", 0.0)
    return Pressure("free disk", limits.free_disk / max(sample.free_disk, 1e-9))


def active_sessions(sample: Sample, limits: Limits) -> Pressure:
    """Pause while more sessions are active than configured."""
    return Pressure("active sessions", sample.active / limits.active)


def backup(sample: Sample, limits: Limits) -> Pressure:
    """Pause during a backup: it reads the same disks, and a dump keeps dead rows visible."""
    return Pressure(sample.backup, float(limits.backups and bool(sample.backup)))


def user_query(sample: Sample, _limits: Limits) -> Pressure:
    """Pause while the user's query returns a reason."""
    return Pressure(sample.query, float(bool(sample.query)))


def migration(sample: Sample, limits: Limits) -> Pressure:
    """Pause while a migration changes tables, and cancel what it would wait for."""
    counts = limits.migrations and bool(sample.migration)
    return Pressure(sample.migration, limits.critical if counts else 0.0)


SIGNALS: tuple[Signal, ...] = (
    paused_by_operator,
    flag_file,
    migration,
    lock_waiters,
    free_disk,
    replica_lag,
    archive_backlog,
    slot,
    active_sessions,
    backup,
    user_query,
)


def pressures(sample: Sample, limits: Limits) -> list[Pressure]:
    """Return the pressure of every signal."""
    return [signal(sample, limits) for signal in SIGNALS]


def pause_reason(sample: Sample, limits: Limits) -> str | None:
    """Return the reason to pause, or None."""
    return next(
        (pressure.reason for pressure in pressures(sample, limits) if pressure.times >= 1), None
    )


def cancel_reason(sample: Sample, limits: Limits) -> str | None:
    """Return the reason to cancel statements in flight, or None."""
    return next(
        (one.reason for one in pressures(sample, limits) if one.times >= limits.critical), None
    )


def present_flag_file(path: Path | None) -> Path | None:
    """Return the flag file if it exists or cannot be examined."""
    if path is None:
        return None
    try:
        path.lstat()
    except FileNotFoundError:
        return None
    except OSError:
        return path
    return path
