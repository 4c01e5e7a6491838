"""Proof of archiving whole partitions under SIGKILL: every row is in exactly one place.

Each round adds two old partitions; in every third one a reader holds a lock. The process is killed
at random.
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
from tests.faults.archive_fixture import ArchiveFixture

ROUNDS, ROWS = 60, 3_000
DAY = 86_400


class PartitionFixture(ArchiveFixture):
    """A table partitioned by day number, owned by the application."""

    def prepare(self):
        with self.connect() as connection:
            connection.execute("DROP TABLE public.event")
            connection.execute(
                "CREATE TABLE public.event (id bigint, at bigint NOT NULL) PARTITION BY RANGE (at)"
            )
            connection.execute(f"CREATE ROLE app_{self.database}")
            connection.execute(f"ALTER TABLE public.event OWNER TO app_{self.database}")
        path = self.folder / "config.toml"
        owner = f'owner = {{ user = "owner_{self.database}" }}\n[governor]'
        text = path.read_text().replace("[governor]", owner)
        path.write_text(text + 'epoch = "s"\npartitions = "drop"\n')
        admin = self.cluster.dsn(self.database)
        self.sereno("install", "main", "--admin", admin).check_returncode()
        self.days = 0

    def add_partitions(self, count):
        with self.connect() as connection:
            for _ in range(count):
                self.days += 1
                first, end = self.days * DAY, (self.days + 1) * DAY
                name = f"public.event_{self.days}"
                connection.execute(
                    f"CREATE TABLE {name} PARTITION OF public.event FOR VALUES FROM ({first}) TO ({end})"
                )
                connection.execute(f"ALTER TABLE {name} OWNER TO app_{self.database}")
                connection.execute(f"INSERT INTO {name} SELECT {self.days * ROWS} + n, {first} + n FROM generate_series(0, {ROWS - 1}) n")  # fmt: skip

    def count_rows(self):
        """Count lost, duplicated and unexpected rows, and partitions and bytes left behind."""
        copies = {}
        with self.connect() as connection:
            names = [row["name"] for row in connection.execute("SELECT relname AS name FROM pg_class WHERE relname LIKE 'event\\_%' AND relkind = 'r'")]  # fmt: skip
            keys = [
                row["id"]
                for name in names
                for row in connection.execute(f"SELECT id FROM public.{name}")
            ]
            ledger = connection.execute("SELECT * FROM sereno.archive_batch").fetchall()
            left = connection.execute("SELECT count(*) AS n FROM sereno.detached_partition WHERE id NOT IN (SELECT id FROM sereno.detached_partition_end)").fetchone()["n"]  # fmt: skip
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
            copies[key] = copies.get(key, 0) + 1
        expected = set(range(ROWS, (self.days + 1) * ROWS))
        size = sum(path.stat().st_size for path in self.archive_folder.rglob("*.zst"))
        return {
            "lost": len(expected - copies.keys()), "duplicated": sum(times > 1 for times in copies.values()), "unexpected": len(copies.keys() - expected),
            "partitions left": len(names), "unsettled": left, "bytes not in ledger": size - sum(row["length"] for row in ledger),
        }  # fmt: skip


def main():
    scratch = Path(tempfile.mkdtemp(prefix="sereno-prove-"))
    scratch.chmod(0o755)
    (scratch / "cluster").mkdir()
    (scratch / "parts").mkdir()
    random_source, began, kills = random.Random(21), time.monotonic(), 0
    try:
        with Cluster(scratch / "cluster", embedded_binaries(), {"fsync": "on"}) as cluster:
            archive = PartitionFixture(scratch / "parts", cluster, "parts", rows=0)
            archive.prepare()
            for number in range(ROUNDS):
                archive.add_partitions(2)
                reader = archive.connect() if number % 3 == 0 else None
                if reader:
                    reader.autocommit = False
                    reader.execute("SELECT count(*) FROM public.event")
                kills += archive.kill(random_source.uniform(0.45, 1.1))
                if reader:
                    reader.close()
                counts = archive.count_rows()
                assert (counts["lost"], counts["duplicated"]) == (0, 0), counts
            archive.finish()
            counts = archive.count_rows()
            print(f"partitions: {kills} kills, {', '.join(f'{key} {value}' for key, value in counts.items())}; {time.monotonic() - began:.0f} s")  # fmt: skip
            sys.exit(any(counts.values()))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
