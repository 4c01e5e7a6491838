"""Proof of the alert invariants: random sequences, a channel outage, a flapping alert.

The clock is simulated."""

import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from pathlib import Path

from hypothesis import HealthCheck, given, seed, settings

from alerts.alert import Reason
from daemon.monitoring.log import set_up
from domain.coverage import Coverage
from domain.finding import Finding, Identity, Severity
from tests.faults.alert_model import AlertModel, run_sequence, sequences

SEQUENCES, PROCESSES = 10_000, 2
MEMORY_FOLDER = next((folder for folder in ("/dev/shm",) if os.path.isdir(folder)), None)  # noqa: S108, PTH112 - in memory, in a private folder
MINUTE = timedelta(minutes=1)


def run_sequences(number):
    """Run sequences with one seed; return the numbers of sequences and of events."""
    set_up(quiet=True)
    counts = [0, 0]

    @seed(number)
    @settings(max_examples=SEQUENCES // PROCESSES, database=None, suppress_health_check=list(HealthCheck), deadline=None)  # fmt: skip
    @given(sequences)
    def run_one(sequence):
        with tempfile.TemporaryDirectory(dir=MEMORY_FOLDER) as folder:
            run_sequence(AlertModel(Path(folder) / "state.db"), sequence)
        counts[0] += 1
        counts[1] += len(sequence)

    run_one()
    return counts


def channel_outage(folder):
    """The chat channel is down for an hour; a new alert fires every five minutes."""
    model = AlertModel(folder / "outage.db")
    chat, second = model.channels["chat"], model.channels["second"]
    began, fallback_after = model.now, None
    for tick in range(60 * 6):
        if tick % 30 == 0:
            model.process(
                [(chr(97 + tick // 30), Severity.CRITICAL if tick == 60 else Severity.HIGH)],
                covered=False,
            )
        model.review()
        for name in model.channels:
            model.deliver(name, "refuse" if name == "chat" else "accept")
        if second.accepted and fallback_after is None:
            fallback_after = model.now - began
        model.now += timedelta(seconds=10)
    model.now += timedelta(minutes=2)
    while model.courier().deliver_one("chat"):
        pass
    (digest,) = chat.accepted
    return (
        f"channel outage of 1 h: fallback notified after {fallback_after.total_seconds():.0f} s; after recovery "
        f"{len(chat.accepted)} message with {len(digest.message.lines)} alerts ({digest.message.details.get('late', digest.message.summary)})"
    )


def flapping_alert(folder, severity):
    """An alert that fires and resolves in turn each minute for 24 hours."""
    model = AlertModel(folder / f"{severity}.db")
    finding = Finding(Identity("orphans", "test", database="main", object="a"), severity, "7 rows")
    for minute in range(24 * 60):
        found = [finding] if minute % 2 == 0 else []
        with model.store.transaction() as transaction:
            model.processor(transaction).process(found, [Coverage("orphans", "main")])
        with model.store.transaction() as transaction:
            model.processor(transaction).review()
        for name in ("chat", "mail", "ticket"):
            while model.courier().deliver_one(name):
                pass
        model.now += MINUTE
    counts = {name: len(model.channels[name].accepted) for name in ("chat", "mail", "ticket")}
    reasons = [one.message.reason.value for one in model.channels["ticket"].accepted]
    assert max(counts.values()) <= 3, counts
    assert Reason.FLAPPING.value in reasons
    return f"flapping for 24 h, {severity}: messages {counts}, reasons {reasons}"


def main():
    set_up(quiet=True)
    with tempfile.TemporaryDirectory(dir=MEMORY_FOLDER) as folder:
        print(channel_outage(Path(folder)), flush=True)
        for severity in (Severity.HIGH, Severity.CRITICAL):
            print(flapping_alert(Path(folder), severity), flush=True)
    began = time.monotonic()
    with ProcessPoolExecutor(PROCESSES) as pool:
        counts = list(pool.map(run_sequences, range(PROCESSES)))
    total, events = (sum(one[place] for one in counts) for place in (0, 1))
    print(
        f"event sequences: {total}, events {events}, violations 0; {time.monotonic() - began:.0f} s"
    )
    sys.exit(total < SEQUENCES)


if __name__ == "__main__":
    main()
