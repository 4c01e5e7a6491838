"""Many databases of one server: sereno's runs beside the same work by plain threads.

The work is the job integrity_check: its sessions, its queries and their judgement. The threads do
nothing else; sereno also locks, admits, claims, records and alerts. Both work on sixteen databases
at once and are measured in turns, as whole processes. Then sereno works once within the usual limit
of sessions, whose number is read from the server meanwhile.
"""

import argparse
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from benchmarks.server import COMPILED, ratio_columns
from daemon.bootstrap import build_context
from daemon.config.load import load_config
from daemon.context import Context
from daemon.demo.cluster import Cluster, embedded_binaries
from daemon.registry import JOB_NAMES
from daemon.runs.dry_run import run_checks
from daemon.scheduling.tasks import tasks_of
from domain.task import Task

JOB = "integrity_check"
AT_ONCE = 16
WIDE = 64
"""More sessions than sixteen runs have."""
SAMPLE_SECONDS = 0.1
SETTINGS = {"autovacuum": "off", "fsync": "off", "max_connections": "200"}
CONFIG = """
[daemon]
name = "bench"
state = "{folder}/state{at_once}.db"
checks = "{folder}"
listen = ""
[databases.fleet]
dsn = "host={socket} port={port} dbname=postgres user=postgres"
discover = "fleet_%"
at_once = {at_once}
"""


@dataclass(slots=True)
class Process:
    """The figures of one process."""

    seconds: float = 0.0
    cpu: float = 0.0
    threads: int = 0
    megabytes: int = 0
    sessions: int = 0

    def sample(self, number: int, connection: psycopg.Connection[tuple[int]]) -> None:
        """Note the largest values until now."""
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'sereno%'"
        row = connection.execute(query).fetchone()
        self.sessions = max(self.sessions, row[0] if row else 0)
        try:
            lines = Path(f"/proc/{number}/status").read_text().splitlines()
        except OSError:
            return
        values = dict(line.split(":", 1) for line in lines)
        self.threads = max(self.threads, int(values.get("Threads", 0)))
        self.megabytes = max(self.megabytes, int(values.get("VmHWM", "0").split()[0]) // 1024)


def create_databases(cluster: Cluster, count: int) -> None:
    """Create small databases from a template."""
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        connection.execute("CREATE DATABASE model")
        with psycopg.connect(cluster.dsn("model"), autocommit=True) as model:
            model.execute(
                "CREATE TABLE item (id int PRIMARY KEY, name text);"
                "CREATE TABLE line (id int PRIMARY KEY, item int REFERENCES item);"
                "INSERT INTO item SELECT n, n::text FROM generate_series(1, 2000) n;"
                "INSERT INTO line SELECT n, n FROM generate_series(1, 2000) n;"
                "ANALYZE"
            )
        for number in range(count):
            name = sql.Identifier(f"fleet_{number:04}")
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE model STRATEGY file_copy").format(name)
            )


def measured(cluster: Cluster, command: Sequence[str]) -> Process:
    """Run a process to its end, sampling it and the server."""
    found, before = Process(), resource.getrusage(resource.RUSAGE_CHILDREN)
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        began = time.monotonic()
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=COMPILED) as process:
            while process.poll() is None:
                found.sample(process.pid, connection)
                time.sleep(SAMPLE_SECONDS)
        found.seconds = time.monotonic() - began
    if process.returncode not in {0, 1}:  # 1: a finding
        sys.exit(f"{command} ended with {process.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    found.cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return found


def plain_threads(config: Path) -> None:
    """Do the work in every database by threads that do nothing else."""
    context = build_context(load_config(config, JOB_NAMES))

    def work(task: Task) -> int:
        return sum(1 for _ in run_checks(context, task, context.checks))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        print(sum(pool.map(work, tasks_of(context, [JOB]))))


@contextmanager
def fleet(count: int) -> Iterator[tuple[Cluster, Path]]:
    """Start a server with so many databases; yield it and a folder."""
    with tempfile.TemporaryDirectory(prefix="sereno-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "cluster").mkdir()
        with Cluster(folder / "cluster", embedded_binaries(), SETTINGS) as cluster:
            create_databases(cluster, count)
            yield cluster, folder


def configured(cluster: Cluster, folder: Path, at_once: int) -> Path:
    """Write a configuration with a limit of sessions; return its path."""
    path = folder / f"{at_once}.toml"
    values = {"socket": cluster.socket, "port": cluster.port, "at_once": at_once}
    path.write_text(CONFIG.format(folder=folder, **values))
    return path


def sereno(cluster: Cluster, config: Path) -> Process:
    """Run the job by sereno."""
    command = [sys.executable, "-m", "daemon", "now", JOB, "--json", "--fail-on", "critical"]
    return measured(cluster, [*command, "--config", str(config)])


def runs_of(config: Path, databases: int) -> str:
    """Return what the state file says: the runs, those not finished, and those done twice."""
    context: Context = build_context(load_config(config, JOB_NAMES), with_checks=False)
    with sqlite3.connect(context.store.path) as connection:
        finished, others = connection.execute(
            "SELECT count(*) FILTER (WHERE state = 'finished'),"
            " count(*) FILTER (WHERE state <> 'finished') FROM run"
        ).fetchone()
    return f"{finished} of {databases} finished, {others} others"


def main() -> None:
    """Print a Markdown row of the comparison, and one of the usual limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--databases", type=int, default=1000)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--threads", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.threads:
        plain_threads(arguments.threads)
        return
    count = arguments.databases
    with fleet(count) as (cluster, folder):
        wide, usual = configured(cluster, folder, WIDE), configured(cluster, folder, 4)
        threads = [sys.executable, "-m", "benchmarks.fleet", "--threads", str(wide)]
        sereno(cluster, wide)  # finds the databases, fills the caches
        pairs = [
            (sereno(cluster, wide), measured(cluster, threads)) for _ in range(arguments.pairs)
        ]
        times = [(ours.seconds, peer.seconds) for ours, peer in pairs]
        ours, peer = pairs[-1]
        print(f"{count} databases on {os.cpu_count()} cores, {arguments.pairs} pairs\n")
        print("| sereno s | threads s | ratio | spread | CPU ms a task more | threads | MB |")
        print("|---|---|---|---|---|---|---|")
        more = (ours.cpu - peer.cpu) / count * 1000
        print(f"| {ratio_columns(times)} | {more:.1f} | {ours.threads} | {ours.megabytes} |\n")
        within = sereno(cluster, usual)
        print(
            f"at_once = 4: {within.seconds:.1f} s, at most {within.sessions} sessions, "
            f"{within.threads} threads, {within.megabytes} MB; {runs_of(usual, count)}"
        )


if __name__ == "__main__":
    main()
