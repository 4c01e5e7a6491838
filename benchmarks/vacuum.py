"""`sereno now vacuum analyze` beside `vacuumdb -j2 -z`: the same tables, made dirty the same way, in turns.

Prints the median ratio and its spread over the pairs; the times themselves belong to the machine. A server from
`--binaries` joins the embedded one, if its folder is there.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from daemon.demo.cluster import Cluster, embedded_binaries

ROWS = 200
COMMIT_EVERY = 500
SETTINGS = {"autovacuum": "off", "fsync": "on", "full_page_writes": "on", "shared_buffers": "256MB"}
COMPILED = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""An installed program has its bytecode beside it, and so has ours from the first pair on."""
CONFIG = """
[daemon]
name = "bench"
state = "{state}"
checks = "{folder}"
listen = ""
[databases.main]
dsn = "host={socket} port={port} dbname={database} user=postgres"
"""


@dataclass(frozen=True)
class Case:
    """So many tables, so many of them dirty; what is timed of ours, and the ratio that is aimed at by major version."""

    name: str
    tables: int
    dirty: int
    whole: bool
    aims: dict[int, float]


CASES = (
    Case("10,000 tables, 100 dirty: whole process", 10_000, 100, whole=True, aims={18: 0.35, 15: 0.10}),
    Case("3,000 tables, all dirty: the job alone", 3_000, 3_000, whole=False, aims={18: 1.2, 15: 0.8}),
)


class Bench:
    """One server and one database with the tables of a case."""

    def __init__(self, cluster: Cluster, case: Case, folder: Path) -> None:
        self._cluster, self._case = cluster, case
        self.database = f"bench{case.tables}"
        self._config = folder / f"{self.database}.toml"
        state = folder / f"{self.database}.db"
        self._config.write_text(
            CONFIG.format(state=state, folder=folder, socket=cluster.socket, port=cluster.port, database=self.database)
        )
        with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(self.database)))
        with self._connect() as connection:
            for number in range(case.tables):
                connection.execute(
                    sql.SQL("CREATE TABLE {} (id int PRIMARY KEY, v int)").format(sql.Identifier(f"t{number}"))
                )
                if number % COMMIT_EVERY == 0:
                    connection.commit()
            connection.commit()
            for number in range(case.tables):
                connection.execute(
                    sql.SQL("INSERT INTO {} SELECT n, 0 FROM generate_series(1, {}) n").format(
                        sql.Identifier(f"t{number}"), sql.Literal(ROWS)
                    )
                )
                if number % COMMIT_EVERY == 0:
                    connection.commit()
        self.vacuumdb()

    def _connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self._cluster.dsn(self.database))

    def soil(self) -> None:
        """Update every row of the tables that are to be dirty; let it be counted, and the disk come to rest."""
        with self._connect() as connection:
            for number in range(self._case.dirty):
                connection.execute(sql.SQL("UPDATE {} SET v = v + 1").format(sql.Identifier(f"t{number}")))
                if number % COMMIT_EVERY == 0:
                    connection.commit()
        with self._connect() as connection:
            connection.autocommit = True
            connection.execute("CHECKPOINT")
            time.sleep(1.0)  # before 15 the statistics are half a second late

    def vacuumdb(self) -> float:
        """Return the seconds of the peer."""
        program = self._cluster.program("vacuumdb")
        command = [program, "-j2", "-z", "-q", "-h", str(self._cluster.socket), "-p", str(self._cluster.port)]
        began = time.monotonic()
        subprocess.run([*command, "-U", "postgres", self.database], check=True)
        return time.monotonic() - began

    def sereno(self) -> float:
        """Return our seconds: of the whole process, or from the record of the job's run."""
        command = [sys.executable, "-m", "daemon", "now", "vacuum", "analyze", "--json", "--config", str(self._config)]
        began = time.monotonic()
        answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=COMPILED).stdout
        seconds = time.monotonic() - began
        runs = {run["job"]: run for run in json.loads(answer)}
        done = [step for step in runs["vacuum"]["steps"] if step["object"].startswith("public.")]
        assert len(done) == self._case.dirty, len(done)
        assert {step["status"] for step in done} == {"done"}
        if self._case.whole:
            return seconds
        began_at, ended_at = (datetime.fromisoformat(runs["vacuum"][key]) for key in ("started_at", "finished_at"))
        return (ended_at - began_at).total_seconds()


def pair(bench: Bench, *, ours_first: bool) -> tuple[float, float]:
    """Return our seconds and the peer's."""
    runners: list[Callable[[], float]] = [bench.sereno, bench.vacuumdb]
    seconds = {}
    for runner in runners if ours_first else reversed(runners):
        bench.soil()
        seconds[runner.__name__] = runner()
    return seconds["sereno"], seconds["vacuumdb"]


def main() -> None:
    """Print a row a case and server, as Markdown."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--pairs", type=int, default=5)
    options.add_argument("--binaries", type=Path, nargs="*", default=[Path("/usr/lib/postgresql/15/bin")])
    chosen = options.parse_args()
    print(f"{chosen.pairs} pairs on {os.cpu_count()} cores; ratio = sereno / vacuumdb -j2 -z, below 1 is quicker\n")
    print("| server | case | sereno s | vacuumdb s | ratio | spread | aim |")
    print("|---|---|---|---|---|---|---|")
    for binaries in (embedded_binaries(), *(folder for folder in chosen.binaries if folder.exists())):
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sereno-bench-")))
            folder.chmod(0o755)
            (folder / "cluster").mkdir()
            cluster = stack.enter_context(Cluster(folder / "cluster", binaries, SETTINGS))
            with psycopg.connect(cluster.dsn()) as connection:
                version = connection.info.server_version // 10000
            for case in CASES:
                bench = Bench(cluster, case, folder)
                pairs = [pair(bench, ours_first=bool(number % 2)) for number in range(chosen.pairs)]
                ratios = sorted(ours / peer for ours, peer in pairs)
                ours, peer = (statistics.median(one[side] for one in pairs) for side in (0, 1))
                print(
                    f"| {version} | {case.name} | {ours:.2f} | {peer:.2f} | {statistics.median(ratios):.2f} "
                    f"| {ratios[0]:.2f} to {ratios[-1]:.2f} | ≤ {case.aims.get(version, float('nan')):.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
