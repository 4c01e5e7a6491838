"""Governor: reasons to pause and to cancel, by signal."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.governor import (
    SIGNALS,
    Limits,
    Replica,
    Sample,
    cancel_reason,
    pause_reason,
    pressures,
)

LIMITS = Limits(active=40)
GIGABYTE = 1024**3
UNLOADED = Sample(free_disk=0.5, active=3)


@pytest.mark.parametrize(
    ("sample", "reason", "cancels"),
    [
        (Sample(paused=True), "sereno pause", False),
        (Sample(flag_file=Path("/run/hold")), "flag file /run/hold", False),
        (Sample(lock_waiters=1), "a session waits for our lock", False),
        (Sample(replicas=[Replica("a", 1.0, 65 * 1024**2)]), "replica lag", False),
        (Sample(replicas=[Replica("a", 11.0, 5)]), "replica lag", False),
        (Sample(replicas=[Replica("a", 31.0, 5)]), "replica lag", True),
        (
            Sample(replicas=[Replica("a", None, None)]),
            "replica lag unknown (needs pg_monitor)",
            False,
        ),
        (Sample(archive_backlog=100), "WAL archive backlog", False),
        (Sample(archive_backlog=300), "WAL archive backlog", True),
        (Sample(archive_backlog=None), "WAL archive backlog unknown (needs pg_monitor)", False),
        (Sample(slot_bytes=16 * GIGABYTE), "WAL retained by a replication slot", False),
        (Sample(slot_bytes=48 * GIGABYTE), "WAL retained by a replication slot", True),
        (Sample(free_disk=0.049), "free disk", False),
        (Sample(free_disk=0.01), "free disk", True),
        (Sample(free_disk=0.0), "free disk", True),
        (Sample(active=40), "active sessions", False),
        (Sample(active=120), "active sessions", True),
        (Sample(backup="pg_dump, pid 7"), "pg_dump, pid 7", False),
        (Sample(query="governor.query: month end"), "governor.query: month end", False),
    ],
)
def test_signal_over_limit_pauses_and_critical_signal_cancels(sample, reason, cancels):
    assert pause_reason(sample, LIMITS) == reason
    assert cancel_reason(sample, LIMITS) == (reason if cancels else None)


@pytest.mark.parametrize(
    "sample",
    [
        UNLOADED,
        replace(
            UNLOADED, replicas=[Replica("idle", 3600.0, 0)]
        ),  # no bytes to replay: the replay time is old because the primary is idle
        replace(UNLOADED, replicas=[Replica("a", 9.0, 63 * 1024**2)]),
        replace(UNLOADED, archive_backlog=99, slot_bytes=15 * GIGABYTE, active=39),
        replace(UNLOADED, free_disk=None),
    ],
)
def test_no_pause_below_limits(sample):
    assert pause_reason(sample, LIMITS) is None


@given(st.integers(0, 10**6), st.floats(0, 1), st.integers(0, 10**15), st.integers(0, 10**5))
def test_pressure_increases_with_load(backlog, free, kept, active):
    sample = Sample(archive_backlog=backlog, free_disk=free, slot_bytes=kept, active=active)
    worse = Sample(
        archive_backlog=backlog + 1, free_disk=free / 2, slot_bytes=kept * 2, active=active + 1
    )
    for less, more in zip(pressures(sample, LIMITS), pressures(worse, LIMITS), strict=True):
        assert less.times <= more.times
    assert len(pressures(sample, LIMITS)) == len(SIGNALS)
