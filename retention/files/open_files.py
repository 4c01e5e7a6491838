"""Which files somebody has open, as far as this process may see."""

import os
from collections.abc import Iterator
from pathlib import Path

Inode = tuple[int, int]
"""Device and inode."""


def open_files() -> frozenset[Inode]:
    """Return those that processes of this user have open, of all users for root.

    Of others' nobody may read: for them a file's age and `keep_newest` are the guard (proc(5), /proc/pid/fd).
    """
    return frozenset(_all())


def _all() -> Iterator[Inode]:
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        try:
            descriptors = list((process / "fd").iterdir())
        except OSError:  # not ours to read, or it has ended
            continue
        for descriptor in descriptors:
            try:
                entry = descriptor.stat()
            except OSError:
                continue
            yield entry.st_dev, entry.st_ino
