"""What others feel of archiving a million rows: pgbench at 60 % of what the machine can, alone, beside a peer and us.

The peer is psql's copy into `zstd -3` and one DELETE; ours is gentle.
"""

import os
import statistics
import time
from pathlib import Path

from benchmarks import archive
from benchmarks.foreground import Foreground, Work, nothing, turn
from benchmarks.server import Place, options, servers


def main() -> None:
    """Print a row a server, as Markdown."""
    chosen = options(__doc__)
    print(f"{chosen.pairs} turns on {os.cpu_count()} cores, medians; p99 in ms\n")
    print("| server | tps | p99 alone | beside COPY + DELETE | beside sereno | sereno / alone | seconds / the peer's |")
    print("|---|---|---|---|---|---|---|")
    for version, cluster, folder in servers(chosen):
        place = archive.place(cluster, folder, "felt", "file://{folder}/felt")
        place.config.write_text(place.config.read_text().replace("[governor]", '[governor]\npace = "gentle"'))
        foreground = Foreground(place, folder)
        who = (nothing, _timed(archive.copied, folder), _timed(archive.ours, folder))
        turns = [turn(place, foreground, number, who, archive.fill) for number in range(chosen.pairs)]
        cells = [statistics.median(column) for column in zip(*turns, strict=True)]
        spread = sorted(one[3] for one in turns)
        print(
            f"| {version} | {foreground.rate:.0f} | {cells[0]:.1f} | {cells[1]:.1f} | {cells[2]:.1f} "
            f"| {cells[3]:.2f} ({spread[0]:.2f} to {spread[-1]:.2f}), aim 1.25 | {cells[4]:.1f} |",
            flush=True,
        )


def _timed(work: archive.Work, folder: Path) -> Work:
    def timed(place: Place) -> tuple[float, float]:
        began = time.time()
        work(place, folder)
        return began, time.time()

    return timed


if __name__ == "__main__":
    main()
