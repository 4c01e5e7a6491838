"""The archive, whatever dies: every row is in exactly one place afterwards, digests equal.

`kills`: SIGKILL at random. `sweep`: SIGKILL at every system call of a run with two batches, then EIO and ENOSPC there,
once and for ever. `server`: the server crashes. `full`: the archive's disk is full. `commits`: a COMMIT that is
dropped before it arrives, and one whose answer is. Others write to the table all the while.
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
from tests.faults.archive_ground import Family, Ground, Proxy, ToTable

KILLS, CRASHES, FULL, COMMITS, FOR_EVER, FEWER = 300, 20, 20, 50, 150, 60
TOUCHES = "write,fsync,ftruncate,pread64,sendto,flock,mkdirat,pwrite64,fdatasync"
FILES = "write,fsync,ftruncate,pread64,mkdirat"


def kills(make, name="kills", kind=Ground, wanted=KILLS):
    draw, ground, hits = random.Random(3), make(name, kind, rows=0), 0
    with ground:
        while hits < wanted:
            ground.fill(1500)
            hits += ground.kill(draw.uniform(0.45, 1.0))
    return {"killed": hits, **ground.whole()}


def sweep(make, what, calls, *, paths=False):
    """Inject at the first such call, the second, … until a run meets none any more; on the archive's paths, or any."""
    name = "".join(letter for letter in what.replace("+", "ever") if letter.isalnum()).lower()
    ground, number, runs = make(f"sweep{name}{'paths' if paths else ''}", rows=0), 0, 0
    with ground:
        ground.fill(100)
        ground.sereno("now", "archive").check_returncode()  # from now on the files are there
        while True:
            number += 1
            ground.fill(100)
            trace = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={calls}"]
            folders = [ground.archive_folder / "main/public/event"] if paths else []
            where = [*folders, *(path for folder in folders for path in folder.glob("*"))]
            trace += [word for path in where for word in ("-P", str(path))]
            done = ground.sereno(
                "now", "archive", prefix=[*trace, "-e", f"inject={calls}:{what.format(number)}"]
            )
            runs += 1
            assert "invalid" not in done.stderr, (
                done.stderr
            )  # strace's own word for an injection that is none
            if done.returncode == 0 and "+" not in what:
                break
            if "+" in what and number > FOR_EVER:
                break
    return {"points": runs, **ground.whole()}


def server(make):
    draw, ground = random.Random(5), make("server", rows=60_000)
    with ground:
        for _ in range(CRASHES):
            with ground.archiving():
                time.sleep(draw.uniform(0.5, 1.2))
                ground.cluster.stop("immediate")
                ground.cluster.start()
    return {"crashes": CRASHES, **ground.whole()}


def full(make):
    """A small disk that somebody else fills and empties."""
    mount = Path(tempfile.mkdtemp(prefix="sereno-full-"))
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", str(mount)], check=True
    )
    failed, draw = 0, random.Random(9)
    try:
        ground = make("full", rows=0, archive=mount / "archive")
        (ground.folder / "config.toml").write_text((ground.folder / "config.toml").read_text().replace("[governor]", "[governor]\nfree_disk = 0.0"))  # fmt: skip
        with ground:
            for _ in range(FULL):
                ground.fill(300)
                ballast = mount / "ballast"
                state = os.statvfs(mount)
                ballast.write_bytes(
                    b"\0" * max(0, state.f_bavail * state.f_frsize - draw.choice((0, 4096, 8192)))
                )
                failed += ground.sereno("now", "archive").returncode != 0
                ballast.unlink()
        return {"runs": FULL, "met a full disk": failed, **ground.whole()}
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def commits(make, how):
    ground = make("commits" + how, rows=0)
    proxy = Proxy(ground.cluster.port)
    ground.configure(f"host=127.0.0.1 port={proxy.port} dbname={ground.database}")
    with proxy, ground:
        while proxy.cuts < COMMITS:
            ground.fill(100)
            proxy.cut = how
            ground.sereno("now", "archive")
    ground.configure(ground.direct)
    return {"cuts": proxy.cuts, **ground.whole()}


PROOFS = {
    "kills": kills,
    "family: kills": lambda make: kills(make, "family", Family, FEWER),
    "table: kills": lambda make: kills(make, "totable", ToTable, FEWER),
    "sweep: SIGKILL at every call on the archive's paths": lambda make: sweep(
        make, "signal=SIGKILL:when={}", "all", paths=True
    ),
    "sweep: SIGKILL": lambda make: sweep(make, "signal=SIGKILL:when={}", TOUCHES),
    "sweep: EIO once": lambda make: sweep(make, "error=EIO:when={}", FILES),
    "sweep: ENOSPC once": lambda make: sweep(make, "error=ENOSPC:when={}", FILES),
    "sweep: EIO for ever": lambda make: sweep(make, "error=EIO:when={}+", FILES),
    "sweep: ENOSPC for ever": lambda make: sweep(make, "error=ENOSPC:when={}+", FILES),
    "server": server,
    "full": full,
    "commits: before": lambda make: commits(make, "before"),
    "commits: after": lambda make: commits(make, "after"),
}


def main(chosen):
    scratch = Path(tempfile.mkdtemp(prefix="sereno-prove-"))
    scratch.chmod(0o755)
    (scratch / "cluster").mkdir()
    try:
        with Cluster(
            scratch / "cluster", embedded_binaries(), {"autovacuum": "on", "fsync": "on"}
        ) as cluster:

            def make(name, kind=Ground, **options):
                (scratch / name).mkdir()
                return kind(scratch / name, cluster, f"g_{name}", **options)

            for name, proof in PROOFS.items():
                if not chosen or name.partition(":")[0] in chosen or name in chosen:
                    began = time.monotonic()
                    said = proof(make)
                    print(f"{name}: {', '.join(f'{key} {value}' for key, value in said.items())}; {time.monotonic() - began:.0f} s", flush=True)  # fmt: skip
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1:])
