"""Latency of pgbench at 60 % load: alone, beside a peer's and beside sereno's archiving.

The peer is psql's copy into `zstd -3` and one DELETE; ours is gentle.
"""

import os
import statistics
import time
from datetime import datetime
from functools import partial
from pathlib import Path

from benchmarks import archive
from benchmarks.foreground import Foreground, nothing, turn
from benchmarks.server import Place, options, servers


def main() -> None:
    """Print a row a server, as Markdown."""
    chosen = options(__doc__)
    print(f"{chosen.pairs} turns on {os.cpu_count()} cores, medians; p99 in ms\n")
    print(
        "| server | tps | p99 alone | beside COPY + DELETE | beside sereno | sereno / alone "
        "| seconds / the peer's |"
    )
    print("|---|---|---|---|---|---|---|")
    for version, cluster, folder in servers(chosen):
        place = archive.place(cluster, folder, "felt", "file://{folder}/felt")
        place.config.write_text(
            place.config.read_text().replace("[governor]", '[governor]\npace = "gentle"')
        )
        foreground = Foreground(place, folder)
        who = (nothing, partial(_peer, folder=folder), _ours)
        turns = [
            turn(place, foreground, number, who, archive.fill) for number in range(chosen.pairs)
        ]
        cells = [statistics.median(column) for column in zip(*turns, strict=True)]
        spread = sorted(one[3] for one in turns)
        print(
            f"| {version} | {foreground.rate:.0f} | {cells[0]:.1f} | {cells[1]:.1f} | "
            f"{cells[2]:.1f} "
            f"| {cells[3]:.2f} ({spread[0]:.2f} to {spread[-1]:.2f}), aim 1.25 | {cells[4]:.1f} |",
            flush=True,
        )


def _peer(place: Place, folder: Path) -> tuple[float, float]:
    began = time.time()
    archive.copied(place, folder)
    return began, time.time()


def _ours(place: Place) -> tuple[float, float]:
    """Archive; return when the job was at work: the service begins once, not each night."""
    _, (run,) = place.sereno("now", "archive")
    assert run["steps"][0]["rows"] == archive.ROWS, run
    began, ended = (
        datetime.fromisoformat(run[key]).timestamp() for key in ("started_at", "finished_at")
    )
    return began, ended


if __name__ == "__main__":
    main()
