"""Latency of pgbench at 60 % load: alone, with COPY and DELETE, with archiving by sereno.

The peer is COPY of psql into `zstd -3` and one DELETE; sereno runs with pace gentle.
"""

import os
import statistics
import time
from datetime import datetime
from functools import partial
from pathlib import Path

from benchmarks import archive
from benchmarks.foreground import Foreground, measure, no_maintenance
from benchmarks.server import BenchmarkDatabase, options, servers


def main() -> None:
    """Print a Markdown row per server."""
    arguments = options(__doc__)
    print(f"{arguments.pairs} measurements on {os.cpu_count()} cores, medians; p99 in ms\n")
    print(
        "| server | tps | p99 alone | with COPY + DELETE | with sereno | sereno / alone "
        "| seconds / peer |"
    )
    print("|---|---|---|---|---|---|---|")
    for version, cluster, folder in servers(arguments):
        database = archive.create_database(cluster, folder, "latency", "file://{folder}/latency")
        database.config.write_text(
            database.config.read_text().replace("[governor]", '[governor]\npace = "gentle"')
        )
        foreground = Foreground(database, folder)
        workloads = (no_maintenance, partial(_run_peer, folder=folder), _run_sereno)
        results = [
            measure(database, foreground, number, workloads, archive.fill)
            for number in range(arguments.pairs)
        ]
        cells = [statistics.median(column) for column in zip(*results, strict=True)]
        spread = sorted(result[3] for result in results)
        print(
            f"| {version} | {foreground.rate:.0f} | {cells[0]:.1f} | {cells[1]:.1f} | "
            f"{cells[2]:.1f} "
            f"| {cells[3]:.2f} ({spread[0]:.2f} to {spread[-1]:.2f}), goal 1.25 | {cells[4]:.1f} |",
            flush=True,
        )


def _run_peer(database: BenchmarkDatabase, folder: Path) -> tuple[float, float]:
    started = time.time()
    archive.copy_and_delete(database, folder)
    return started, time.time()


def _run_sereno(database: BenchmarkDatabase) -> tuple[float, float]:
    """Archive; return start and end of the job, without the start of the process."""
    _, (run,) = database.sereno("now", "archive")
    assert run["steps"][0]["rows"] == archive.ROWS, run
    started, ended = (
        datetime.fromisoformat(run[key]).timestamp() for key in ("started_at", "finished_at")
    )
    return started, ended


if __name__ == "__main__":
    main()
