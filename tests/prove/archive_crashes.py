"""Proof of archiving under crashes: every row is in exactly one place, digests are equal.

`kills`: SIGKILL at random. `sweep`: SIGKILL at every system call of a run with two batches, then
EIO and ENOSPC, once and permanently. `server`: the server crashes. `full`: the archive's disk is
full. `commits`: the connection is lost before or after a COMMIT. A concurrent session writes to the
table.

`python tests/prove/archive_crashes.py [NAME ...]` runs only the named proofs.
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from daemon.demo.cluster import Cluster, embedded_binaries
from tests.faults.archive_fixture import (
    ArchiveFixture,
    ChildTableFixture,
    Proxy,
    TableTargetFixture,
)

KILLS, CRASHES, FULL, COMMITS, PERMANENT_POINTS, VARIANT_KILLS = 300, 20, 20, 50, 150, 60
KILL_CALLS = "write,fsync,ftruncate,pread64,sendto,flock,mkdirat,pwrite64,fdatasync"
FAIL_CALLS = "write,fsync,ftruncate,pread64,mkdirat"


def kills(make, name="kills", fixture_class=ArchiveFixture, count=KILLS):
    random_source, archive, killed = random.Random(3), make(name, fixture_class, rows=0), 0
    with archive:
        while killed < count:
            archive.insert(1500)
            killed += archive.kill(random_source.uniform(0.45, 1.0))
    return {"kills": killed, **archive.finish_and_check()}


def sweep(make, injection, calls, *, paths=False):
    """Inject a fault at the nth call, n = 1, 2, …, until a run succeeds; `paths`: of the archive only."""
    name = "".join(letter for letter in injection.replace("+", "ever") if letter.isalnum()).lower()
    archive, number, runs = make(f"sweep{name}{'paths' if paths else ''}", rows=0), 0, 0
    with archive:
        archive.insert(100)
        archive.sereno("now", "archive").check_returncode()  # creates the files that are traced
        while True:
            number += 1
            archive.insert(100)
            trace = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={calls}"]
            folders = [archive.archive_folder / "main/public/event"] if paths else []
            traced = [*folders, *(path for folder in folders for path in folder.glob("*"))]
            trace += [word for path in traced for word in ("-P", str(path))]
            done = archive.sereno(
                "now",
                "archive",
                prefix=[*trace, "-e", f"inject={calls}:{injection.format(number)}"],
            )
            runs += 1
            assert "invalid" not in done.stderr, done.stderr  # strace rejected the injection
            if done.returncode == 0 and "+" not in injection:
                break
            if "+" in injection and number > PERMANENT_POINTS:
                break
    return {"injection points": runs, **archive.finish_and_check()}


def server(make):
    random_source, archive = random.Random(5), make("server", rows=60_000)
    with archive:
        for _ in range(CRASHES):
            with archive.archiving():
                time.sleep(random_source.uniform(0.5, 1.2))
                archive.cluster.stop("immediate")
                archive.cluster.start()
    return {"crashes": CRASHES, **archive.finish_and_check()}


def full(make):
    """Archive to a small file system that is filled before each run."""
    mount = Path(tempfile.mkdtemp(prefix="sereno-full-"))
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", str(mount)], check=True
    )
    failed, random_source = 0, random.Random(9)
    try:
        archive = make("full", rows=0, archive=mount / "archive")
        (archive.folder / "config.toml").write_text((archive.folder / "config.toml").read_text().replace("[governor]", "[governor]\nfree_disk = 0.0"))  # fmt: skip
        with archive:
            for _ in range(FULL):
                archive.insert(300)
                ballast = mount / "ballast"
                state = os.statvfs(mount)
                ballast.write_bytes(
                    b"\0"
                    * max(
                        0, state.f_bavail * state.f_frsize - random_source.choice((0, 4096, 8192))
                    )
                )
                failed += archive.sereno("now", "archive").returncode != 0
                ballast.unlink()
        return {"runs": FULL, "failed on full disk": failed, **archive.finish_and_check()}
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def commits(make, when):
    archive = make("commits" + when, rows=0)
    proxy = Proxy(archive.cluster.port)
    archive.configure(f"host=127.0.0.1 port={proxy.port} dbname={archive.database}")
    with proxy, archive:
        while proxy.cuts < COMMITS:
            archive.insert(100)
            proxy.cut = when
            archive.sereno("now", "archive")
    archive.configure(archive.direct)
    return {"cuts": proxy.cuts, **archive.finish_and_check()}


PROOFS = {
    "kills": kills,
    "children: kills": lambda make: kills(make, "children", ChildTableFixture, VARIANT_KILLS),
    "table: kills": lambda make: kills(make, "totable", TableTargetFixture, VARIANT_KILLS),
    "sweep: SIGKILL at every call on the archive's paths": lambda make: sweep(
        make, "signal=SIGKILL:when={}", "all", paths=True
    ),
    "sweep: SIGKILL": lambda make: sweep(make, "signal=SIGKILL:when={}", KILL_CALLS),
    "sweep: EIO once": lambda make: sweep(make, "error=EIO:when={}", FAIL_CALLS),
    "sweep: ENOSPC once": lambda make: sweep(make, "error=ENOSPC:when={}", FAIL_CALLS),
    "sweep: EIO permanent": lambda make: sweep(make, "error=EIO:when={}+", FAIL_CALLS),
    "sweep: ENOSPC permanent": lambda make: sweep(make, "error=ENOSPC:when={}+", FAIL_CALLS),
    "server": server,
    "full": full,
    "commits: before": lambda make: commits(make, "before"),
    "commits: after": lambda make: commits(make, "after"),
}


def main(selected):
    scratch = Path(tempfile.mkdtemp(prefix="sereno-prove-"))
    scratch.chmod(0o755)
    (scratch / "cluster").mkdir()
    try:
        with Cluster(
            scratch / "cluster", embedded_binaries(), {"autovacuum": "on", "fsync": "on"}
        ) as cluster:

            def make(name, fixture_class=ArchiveFixture, **options):
                (scratch / name).mkdir()
                return fixture_class(scratch / name, cluster, f"g_{name}", **options)

            for name, proof in PROOFS.items():
                if not selected or name.partition(":")[0] in selected or name in selected:
                    began = time.monotonic()
                    counts = proof(make)
                    print(f"{name}: {', '.join(f'{key} {value}' for key, value in counts.items())}; {time.monotonic() - began:.0f} s", flush=True)  # fmt: skip
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1:])
