"""The files that processes have open, as far as this process may see."""

import os
from collections.abc import Iterator
from pathlib import Path

Inode = tuple[int, int]
"""Device and inode."""


def open_files() -> frozenset[Inode]:
    """Return the open files of this user's processes, of all processes for root (proc(5))."""
    return frozenset(_all())


def _all() -> Iterator[Inode]:
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        try:
            descriptors = list((process / "fd").iterdir())
        except OSError:  # another user's process, or it has ended
            continue
        for descriptor in descriptors:
            try:
                entry = descriptor.stat()
            except OSError:
                continue
            yield entry.st_dev, entry.st_ino
