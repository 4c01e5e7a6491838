"""Shared code of the benchmarks: servers, databases, timing, table columns."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from daemon.demo.cluster import Cluster, embedded_binaries

SETTINGS = {"autovacuum": "off", "fsync": "on", "full_page_writes": "on", "shared_buffers": "256MB"}
COMPILED = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""Bytecode is written in the first pair, as an installed program has it."""
CONFIG = """
[daemon]
name = "bench"
state = "{state}"
checks = "{folder}"
listen = ""
[databases.main]
dsn = "host={socket} port={port} dbname={database} user=postgres"
"""


def options(description: str | None) -> argparse.Namespace:
    """Parse the command line shared by all benchmarks."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument(
        "--binaries", type=Path, nargs="*", default=[Path("/usr/lib/postgresql/15/bin")]
    )
    return parser.parse_args()


def servers(arguments: argparse.Namespace) -> Iterator[tuple[int, Cluster, Path]]:
    """Yield major version, server and folder of the embedded server and of each of `--binaries`."""
    for binaries in (
        embedded_binaries(),
        *(folder for folder in arguments.binaries if folder.exists()),
    ):
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sereno-bench-")))
            folder.chmod(0o755)
            (folder / "cluster").mkdir()
            cluster = stack.enter_context(Cluster(folder / "cluster", binaries, SETTINGS))
            with psycopg.connect(cluster.dsn()) as connection:
                version = connection.info.server_version // 10000
            yield version, cluster, folder


class BenchmarkDatabase:
    """A database with its own configuration and state file."""

    def __init__(self, cluster: Cluster, folder: Path, database: str, extra: str = "") -> None:
        self.cluster, self.database = cluster, database
        self.config = folder / f"{database}.toml"
        state = folder / f"{database}.db"
        text = CONFIG.format(
            state=state, folder=folder, socket=cluster.socket, port=cluster.port, database=database
        )
        self.config.write_text(text + extra)
        with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))

    def connect(self, *, autocommit: bool = False) -> psycopg.Connection[Any]:
        """Connect as superuser."""
        return psycopg.connect(self.cluster.dsn(self.database), autocommit=autocommit)

    def flush(self) -> None:
        """Write a checkpoint and wait for the statistics, which servers before 15 report late."""
        with self.connect(autocommit=True) as connection:
            connection.execute("CHECKPOINT")
        time.sleep(1.0)

    def vacuumdb(self) -> float:
        """Run vacuumdb; return its seconds."""
        program = self.cluster.program("vacuumdb")
        command = [
            program,
            "-j2",
            "-z",
            "-q",
            "-h",
            str(self.cluster.socket),
            "-p",
            str(self.cluster.port),
        ]
        began = time.monotonic()
        subprocess.run([*command, "-U", "postgres", self.database], check=True)
        return time.monotonic() - began

    def sereno(self, *arguments: str) -> tuple[float, Any]:
        """Run sereno; return the seconds of the whole process and its JSON output."""
        command = [
            sys.executable,
            "-m",
            "daemon",
            *arguments,
            "--json",
            "--config",
            str(self.config),
        ]
        began = time.monotonic()
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=COMPILED).stdout
        return time.monotonic() - began, json.loads(output)


def ratio_columns(pairs: Sequence[tuple[float, float]]) -> str:
    """Return both medians, the median ratio and its spread as table columns."""
    ratios = sorted(ours / peer for ours, peer in pairs)
    ours, peer = (statistics.median(one[side] for one in pairs) for side in (0, 1))
    return (
        f"{ours:.2f} | {peer:.2f} | {statistics.median(ratios):.2f} | {ratios[0]:.2f} to "
        f"{ratios[-1]:.2f}"
    )
