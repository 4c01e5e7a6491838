"""Latency of pgbench at 60 % load: alone, with `vacuumdb -j2 -z`, with sereno (pace gentle).

Four clients; ten tables of 100 MB, a quarter of their rows updated before each measurement. A
latency is measured from the scheduled start of a transaction that ended during the maintenance
(of sereno: during its jobs).
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

from benchmarks.server import BenchmarkDatabase, options, servers

CLIENTS = 4
LOAD = 0.6
SCALE = 20
TABLES = 10
ROWS = 100_000
ALONE_SECONDS = 10.0
GENTLE = '[governor]\npace = "gentle"\n'


class Foreground:
    """Runs pgbench in a benchmark database."""

    def __init__(self, database: BenchmarkDatabase, folder: Path) -> None:
        self._database, self._folder = database, folder
        self._runs = 0
        self._run("-i", "-q", "-s", str(SCALE))
        output = self._run("-c", str(CLIENTS), "-j", "2", "-T", "10")
        self.rate = LOAD * float(re.search(r"tps = ([\d.]+)", output)[1])  # type: ignore[index]

    def _command(self, *arguments: str) -> list[str]:
        cluster = self._database.cluster
        connection_options = ["-h", str(cluster.socket), "-p", str(cluster.port), "-U", "postgres"]
        return [
            cluster.program("pgbench"),
            *connection_options,
            *arguments,
            self._database.database,
        ]

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(self._command(*arguments), check=True, text=True, capture_output=True)
        return done.stdout

    @contextmanager
    def running(self) -> Iterator[list[tuple[float, float]]]:
        """Run pgbench during the body; then list the end and milliseconds of each."""
        self._runs += 1
        prefix = self._folder / f"run{self._runs}"
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
        transactions: list[tuple[float, float]] = []
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as pgbench:
            try:
                time.sleep(2.0)
                yield transactions
            finally:
                pgbench.send_signal(
                    signal.SIGALRM
                )  # ends pgbench as its own timer does, so that the log is written
        for log in self._folder.glob(f"{prefix.name}.*"):
            for line in log.read_text().splitlines():
                _, _, micros, _, seconds, rest, *_ = line.split()
                transactions.append((int(seconds) + int(rest) / 1e6, int(micros) / 1e3))
            log.unlink()


def percentile(transactions: list[tuple[float, float]], since: float, until: float) -> float:
    """Return the 99th percentile of the latencies within a period, in milliseconds."""
    within = sorted(latency for ended, latency in transactions if since <= ended <= until)
    return within[int(len(within) * 0.99)]


def create_tables(database: BenchmarkDatabase) -> None:
    """Create the tables."""
    with database.connect() as connection:
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
    database.vacuumdb()


def update_rows(database: BenchmarkDatabase) -> None:
    """Update a quarter of the rows."""
    with database.connect() as connection:
        for number in range(TABLES):
            name = sql.Identifier(f"t{number}")
            connection.execute(sql.SQL("UPDATE {} SET v = v + 1 WHERE id % 4 = 0").format(name))
    database.flush()


def no_maintenance(_database: BenchmarkDatabase) -> tuple[float, float]:
    """Wait without maintenance; return start and end."""
    started = time.time()
    time.sleep(ALONE_SECONDS)
    return started, time.time()


def run_vacuumdb(database: BenchmarkDatabase) -> tuple[float, float]:
    """Run vacuumdb; return start and end."""
    started = time.time()
    database.vacuumdb()
    return started, time.time()


def run_sereno(database: BenchmarkDatabase) -> tuple[float, float]:
    """Run sereno; return start and end of its jobs."""
    _, runs = database.sereno("now", "vacuum", "analyze")
    done = {step["object"] for step in runs[0]["steps"] if step["status"] == "done"}
    assert {f"public.t{number}" for number in range(TABLES)} <= done, runs
    times = [
        datetime.fromisoformat(run[key]).timestamp()
        for run in runs
        for key in ("started_at", "finished_at")
    ]
    return min(times), max(times)


Workload = Callable[[BenchmarkDatabase], tuple[float, float]]
WORKLOADS: tuple[Workload, Workload, Workload] = (no_maintenance, run_vacuumdb, run_sereno)


def measure(
    database: BenchmarkDatabase,
    foreground: Foreground,
    number: int,
    workloads: tuple[Workload, Workload, Workload],
    prepare: Callable[[BenchmarkDatabase], None],
) -> tuple[float, ...]:
    """Return p99 by workload, p99 of sereno / alone, and seconds of sereno / peer."""
    latencies, durations = [0.0] * len(workloads), [0.0] * len(workloads)
    for position in range(len(workloads)):
        index = (position + number) % len(workloads)
        prepare(database)
        with foreground.running() as transactions:
            since, until = workloads[index](database)
        latencies[index], durations[index] = percentile(transactions, since, until), until - since
    return (*latencies, latencies[2] / latencies[0], durations[2] / durations[1])


def main() -> None:
    """Print a Markdown row per server."""
    arguments = options(__doc__)
    print(f"{arguments.pairs} measurements on {os.cpu_count()} cores, medians; p99 in ms\n")
    print(
        "| server | tps | p99 alone | with vacuumdb | with sereno | sereno / alone | "
        "seconds / vacuumdb |"
    )
    print("|---|---|---|---|---|---|---|")
    for version, cluster, folder in servers(arguments):
        database = BenchmarkDatabase(cluster, folder, "foreground", GENTLE)
        create_tables(database)
        foreground = Foreground(database, folder)
        results = [
            measure(database, foreground, number, WORKLOADS, update_rows)
            for number in range(arguments.pairs)
        ]
        cells = [statistics.median(column) for column in zip(*results, strict=True)]
        spread = sorted(result[3] for result in results)
        print(
            f"| {version} | {foreground.rate:.0f} | {cells[0]:.1f} | {cells[1]:.1f} | "
            f"{cells[2]:.1f} "
            f"| {cells[3]:.2f} ({spread[0]:.2f} to {spread[-1]:.2f}), goal 1.25 | {cells[4]:.1f}, "
            "goal 4 |",
            flush=True,
        )


if __name__ == "__main__":
    main()
