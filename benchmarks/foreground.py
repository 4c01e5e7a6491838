"""Latency of pgbench at 60 % load: alone, beside `vacuumdb -j2 -z`, beside sereno (gentle).

Four clients; ten tables of 100 MB, a quarter of their rows updated before each turn. A latency
counts from the moment a transaction was due, if it ended during the maintenance (of sereno: during
its jobs).
"""

import os
import re
import signal
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from psycopg import sql

from benchmarks.server import Place, options, servers

CLIENTS = 4
LOAD = 0.6
SCALE = 20
TABLES = 10
ROWS = 100_000
ALONE_SECONDS = 10.0
GENTLE = '[governor]\npace = "gentle"\n'


class Foreground:
    """pgbench in the database of a place."""

    def __init__(self, place: Place, folder: Path) -> None:
        self._place, self._folder = place, folder
        self._turn = 0
        self._run("-i", "-q", "-s", str(SCALE))
        said = self._run("-c", str(CLIENTS), "-j", "2", "-T", "10")
        self.rate = LOAD * float(re.search(r"tps = ([\d.]+)", said)[1])  # type: ignore[index]

    def _command(self, *arguments: str) -> list[str]:
        cluster = self._place.cluster
        where = ["-h", str(cluster.socket), "-p", str(cluster.port), "-U", "postgres"]
        return [cluster.program("pgbench"), *where, *arguments, self._place.database]

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(self._command(*arguments), check=True, text=True, capture_output=True)
        return done.stdout

    @contextmanager
    def running(self) -> Iterator[list[tuple[float, float]]]:
        """Run pgbench during the body; then list each transaction's end and milliseconds."""
        self._turn += 1
        prefix = self._folder / f"turn{self._turn}"
        arguments = (
            "-n",
            "-c",
            str(CLIENTS),
            "-j",
            "2",
            "-R",
            f"{self.rate:.0f}",
            "-T",
            "3600",
            "-l",
        )
        command = self._command(*arguments, f"--log-prefix={prefix}")
        seen: list[tuple[float, float]] = []
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as pgbench:
            try:
                time.sleep(2.0)
                yield seen
            finally:
                pgbench.send_signal(
                    signal.SIGALRM
                )  # its own sign that the time is over: the log is written out
        for log in self._folder.glob(f"{prefix.name}.*"):
            for line in log.read_text().splitlines():
                _, _, micros, _, seconds, rest, *_ = line.split()
                seen.append((int(seconds) + int(rest) / 1e6, int(micros) / 1e3))
            log.unlink()


def percentile(seen: list[tuple[float, float]], since: float, until: float) -> float:
    """Return the 99th percentile of the latencies in between, in milliseconds."""
    within = sorted(took for ended, took in seen if since <= ended <= until)
    return within[int(len(within) * 0.99)]


def make(place: Place) -> None:
    """Make the tables."""
    with place.connect() as connection:
        for number in range(TABLES):
            name = sql.Identifier(f"t{number}")
            connection.execute(
                sql.SQL("CREATE TABLE {} (id int PRIMARY KEY, v int, f text)").format(name)
            )
            connection.execute(
                sql.SQL(
                    "INSERT INTO {} SELECT n, 0, repeat('x', 960) FROM generate_series(1, {}) n"
                ).format(name, sql.Literal(ROWS))
            )
    place.vacuumdb()


def soil(place: Place) -> None:
    """Update a quarter of the rows."""
    with place.connect() as connection:
        for number in range(TABLES):
            name = sql.Identifier(f"t{number}")
            connection.execute(sql.SQL("UPDATE {} SET v = v + 1 WHERE id % 4 = 0").format(name))
    place.settle()


def nothing(_place: Place) -> tuple[float, float]:
    """Wait."""
    began = time.time()
    time.sleep(ALONE_SECONDS)
    return began, time.time()


def peer(place: Place) -> tuple[float, float]:
    """Run vacuumdb; return when."""
    began = time.time()
    place.vacuumdb()
    return began, time.time()


def ours(place: Place) -> tuple[float, float]:
    """Run the jobs; return when they were at work."""
    _, runs = place.sereno("now", "vacuum", "analyze")
    done = {step["object"] for step in runs[0]["steps"] if step["status"] == "done"}
    assert {f"public.t{number}" for number in range(TABLES)} <= done, runs
    times = [
        datetime.fromisoformat(run[key]).timestamp()
        for run in runs
        for key in ("started_at", "finished_at")
    ]
    return min(times), max(times)


Work = Callable[[Place], tuple[float, float]]
WHO: tuple[Work, Work, Work] = (nothing, peer, ours)


def turn(
    place: Place,
    foreground: Foreground,
    number: int,
    who: tuple[Work, Work, Work],
    before: Callable[[Place], None],
) -> tuple[float, ...]:
    """Return p99 alone, beside the peer and beside sereno, the ratio to alone, and to the peer."""
    felt, lasted = [0.0] * len(who), [0.0] * len(who)
    for place_in_order in range(len(who)):
        which = (place_in_order + number) % len(who)
        before(place)
        with foreground.running() as seen:
            since, until = who[which](place)
        felt[which], lasted[which] = percentile(seen, since, until), until - since
    return (*felt, felt[2] / felt[0], lasted[2] / lasted[1])


def main() -> None:
    """Print a row a server, as Markdown."""
    chosen = options(__doc__)
    print(f"{chosen.pairs} turns on {os.cpu_count()} cores, medians; p99 in ms\n")
    print(
        "| server | tps | p99 alone | beside vacuumdb | beside sereno | sereno / alone | "
        "seconds / vacuumdb's |"
    )
    print("|---|---|---|---|---|---|---|")
    for version, cluster, folder in servers(chosen):
        place = Place(cluster, folder, "foreground", GENTLE)
        make(place)
        foreground = Foreground(place, folder)
        turns = [turn(place, foreground, number, WHO, soil) for number in range(chosen.pairs)]
        cells = [statistics.median(column) for column in zip(*turns, strict=True)]
        spread = sorted(one[3] for one in turns)
        print(
            f"| {version} | {foreground.rate:.0f} | {cells[0]:.1f} | {cells[1]:.1f} | "
            f"{cells[2]:.1f} "
            f"| {cells[3]:.2f} ({spread[0]:.2f} to {spread[-1]:.2f}), aim 1.25 | {cells[4]:.1f}, "
            "aim 4 |",
            flush=True,
        )


if __name__ == "__main__":
    main()
