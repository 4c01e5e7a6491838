"""Partitions that leave as a whole, while the process is killed: every row is in exactly one place afterwards.

Each round has two old partitions more and a reader who is in the way now and then; the process is killed at random.
"""

import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from daemon.demo.cluster import Cluster, embedded_binaries
from retention.archive.frame import Frame, read_lines
from tests.faults.archive_ground import Ground

ROUNDS, ROWS = 60, 3_000
DAY = 86_400


class Context(Ground):
    """A partitioned table by day numbers; `maintain` is its owner."""

    def prepare(self):
        with self.connect() as connection:
            connection.execute("DROP TABLE public.event")
            connection.execute(
                "CREATE TABLE public.event (id bigint, at bigint NOT NULL) PARTITION BY RANGE (at)"
            )
            connection.execute(f"ALTER TABLE public.event OWNER TO maintain_{self.database}")
            connection.execute(f"GRANT SELECT, DELETE ON public.event TO data_{self.database}")
        path = self.folder / "config.toml"
        path.write_text(path.read_text() + 'epoch = "s"\npartitions = "drop"\n')
        self.days = 0

    def add(self, count):
        with self.connect() as connection:
            for _ in range(count):
                self.days += 1
                first, end = self.days * DAY, (self.days + 1) * DAY
                name = f"public.event_{self.days}"
                connection.execute(
                    f"CREATE TABLE {name} PARTITION OF public.event FOR VALUES FROM ({first}) TO ({end})"
                )
                connection.execute(f"ALTER TABLE {name} OWNER TO maintain_{self.database}")
                connection.execute(f"INSERT INTO {name} SELECT {self.days * ROWS} + n, {first} + n FROM generate_series(0, {ROWS - 1}) n")  # fmt: skip

    def places(self):
        """Return how often each row is somewhere, and what is not as it should be."""
        found = {}
        with self.connect() as connection:
            names = [row["name"] for row in connection.execute("SELECT relname AS name FROM pg_class WHERE relname LIKE 'event\\_%' AND relkind = 'r'")]  # fmt: skip
            keys = [
                row["id"]
                for name in names
                for row in connection.execute(f"SELECT id FROM public.{name}")
            ]
            ledger = connection.execute("SELECT * FROM sereno.archive_batch").fetchall()
            left = connection.execute("SELECT count(*) AS n FROM sereno.detached_partition WHERE settled_at IS NULL").fetchone()["n"]  # fmt: skip
        for row in ledger:
            descriptor = os.open(self.archive_folder / row["file"], os.O_RDONLY)
            text = b"".join(
                read_lines(
                    descriptor, Frame(row["position"], row["length"], row["sha256"], row["rows"])
                )
            )
            os.close(descriptor)
            keys += [int(line.split(b"\t")[0]) for line in text.splitlines()]
        for key in keys:
            found[key] = found.get(key, 0) + 1
        wanted = set(range(ROWS, (self.days + 1) * ROWS))
        size = sum(path.stat().st_size for path in self.archive_folder.rglob("*.zst"))
        return {
            "lost": len(wanted - found.keys()), "doubled": sum(times > 1 for times in found.values()), "strange": len(found.keys() - wanted),
            "partitions left": len(names), "unsettled": left, "unledgered bytes": size - sum(row["length"] for row in ledger),
        }  # fmt: skip


def main():
    scratch = Path(tempfile.mkdtemp(prefix="sereno-prove-"))
    scratch.chmod(0o755)
    (scratch / "cluster").mkdir()
    (scratch / "parts").mkdir()
    draw, began, hits = random.Random(21), time.monotonic(), 0
    try:
        with Cluster(scratch / "cluster", embedded_binaries(), {"fsync": "on"}) as cluster:
            ground = Context(scratch / "parts", cluster, "parts", rows=0)
            ground.prepare()
            for number in range(ROUNDS):
                ground.add(2)
                reader = ground.connect() if number % 3 == 0 else None
                if reader:
                    reader.autocommit = False
                    reader.execute("SELECT count(*) FROM public.event")
                hits += ground.kill(draw.uniform(0.45, 1.1))
                if reader:
                    reader.close()
                said = ground.places()
                assert (said["lost"], said["doubled"]) == (0, 0), said
            ground.finish()
            said = ground.places()
            print(f"partitions: killed {hits}, {', '.join(f'{key} {value}' for key, value in said.items())}; {time.monotonic() - began:.0f} s")  # fmt: skip
            sys.exit(any(said.values()))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
