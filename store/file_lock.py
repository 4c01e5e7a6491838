"""One owner at a time, held by the kernel: the lock ends with the process, however that ends."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

POLL_SECONDS = 0.1


class Locked(Exception):  # noqa: N818 - a state of affairs, not a mistake
    """Another process holds the lock."""


def belong(path: Path) -> None:
    """Give what root has made to the owner of its folder: a look by root must not lock the service out."""
    owner = path.parent.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _had(descriptor: int, deadline: float) -> bool:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_SECONDS)
        else:
            return True


@contextmanager
def exclusive(path: Path, patience_seconds: float = 0.0) -> Iterator[None]:
    """Hold `path` by flock(2) for the body; the file stays, with our process id in it. Locked names the holder."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        belong(path)
        if not _had(descriptor, time.monotonic() + patience_seconds):
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            raise Locked(f"{path} is held by process {holder or 'unknown'}")
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode("ascii"), 0)
        yield
    finally:
        os.close(descriptor)
