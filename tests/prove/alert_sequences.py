"""Ten thousand sequences of whatever may happen, an hour with a dead channel, a day of flapping: by a clock of ours."""

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
from tests.faults.alert_world import World, live, sequences

SEQUENCES, PROCESSES = 10_000, 2
SHARED = next((folder for folder in ("/dev/shm",) if os.path.isdir(folder)), None)  # noqa: S108, PTH112 - quick, and private
MINUTE = timedelta(minutes=1)


def some(number):
    """Live through so many sequences; return how many, and how many happenings."""
    set_up(quiet=True)
    lived = [0, 0]

    @seed(number)
    @settings(max_examples=SEQUENCES // PROCESSES, database=None, suppress_health_check=list(HealthCheck), deadline=None)  # fmt: skip
    @given(sequences)
    def whatever_happens(sequence):
        with tempfile.TemporaryDirectory(dir=SHARED) as folder:
            live(World(Path(folder) / "state.db"), sequence)
        lived[0] += 1
        lived[1] += len(sequence)

    whatever_happens()
    return lived


def dead_hour(folder):
    """Slack takes nothing for an hour, while something new is wrong every five minutes."""
    world = World(folder / "hour.db")
    chat, second = world.parties["chat"], world.parties["second"]
    began, noticed, waited = world.now, None, []
    for tick in range(60 * 6):
        if tick % 30 == 0:
            world.look(
                [(chr(97 + tick // 30), Severity.CRITICAL if tick == 60 else Severity.HIGH)],
                covered=False,
            )
        world.tick()
        for name in world.parties:
            world.deliver(name, "refuse" if name == "chat" else "take")
            if name == "mail":
                waited += [world.now - one.created_at for one in world.parties["mail"].taken[-1:]]
        if second.taken and noticed is None:
            noticed = world.now - began
        world.now += timedelta(seconds=10)
    world.now += timedelta(minutes=2)
    while world.courier().deliver_one("chat"):
        pass
    (digest,) = chat.taken
    return (
        f"a channel dead for an hour: told elsewhere after {noticed.total_seconds():.0f} s; when it fires again "
        f"{len(chat.taken)} message that stands for {len(digest.message.lines)} alerts ({digest.message.details.get('late', digest.message.summary)})"
    )


def flapping_day(folder, severity):
    """On and off, each minute, for a day."""
    world = World(folder / f"{severity}.db")
    finding = Finding(Identity("orphans", "world", database="main", object="a"), severity, "7 rows")
    for minute in range(24 * 60):
        found = [finding] if minute % 2 == 0 else []
        with world.store.transaction() as transaction:
            world.processor(transaction).process(found, [Coverage("orphans", "main")])
        with world.store.transaction() as transaction:
            world.processor(transaction).review()
        for name in ("chat", "mail", "ticket"):
            while world.courier().deliver_one(name):
                pass
        world.now += MINUTE
    counts = {name: len(world.parties[name].taken) for name in ("chat", "mail", "ticket")}
    reasons = [one.message.reason.value for one in world.parties["ticket"].taken]
    assert max(counts.values()) <= 3, counts
    assert Reason.FLAPPING.value in reasons
    return f"24 h of flapping each minute, {severity}: messages {counts}, because {reasons}"


def main():
    set_up(quiet=True)
    with tempfile.TemporaryDirectory(dir=SHARED) as folder:
        print(dead_hour(Path(folder)), flush=True)
        for severity in (Severity.HIGH, Severity.CRITICAL):
            print(flapping_day(Path(folder), severity), flush=True)
    began = time.monotonic()
    with ProcessPoolExecutor(PROCESSES) as pool:
        lived = list(pool.map(some, range(PROCESSES)))
    total, happenings = (sum(one[place] for one in lived) for place in (0, 1))
    print(
        f"sequences: {total}, {happenings} happenings, each invariant held; {time.monotonic() - began:.0f} s"
    )
    sys.exit(total < SEQUENCES)


if __name__ == "__main__":
    main()
