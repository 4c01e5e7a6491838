"""Opening of folders component by component through descriptors, never through a link.

A path resolved twice may name two folders; a descriptor always means the folder that was opened.
"""

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePosixPath

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OURS = 0o700


class UnsafeFolderError(OSError):
    """The folder is not safe to delete or archive in; the message says why."""


@contextmanager
def open_folder(folder: str) -> Iterator[int]:
    """Open a folder. Raises UnsafeFolderError if a component is a link or world-writable.

    A world-writable parent is accepted only with the sticky bit, as /tmp has it.
    """
    pure = PurePosixPath(folder)
    if not pure.is_absolute() or ".." in pure.parts:
        raise UnsafeFolderError(f"{folder}: not an absolute path")
    descriptor = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in pure.parts[1:]:
            below = _below(descriptor, part, folder)
            os.close(descriptor)
            descriptor = below
            mode = os.fstat(descriptor).st_mode
            if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
                raise UnsafeFolderError(f"{folder}: {part!r} is world-writable; nothing is deleted")
        if os.fstat(descriptor).st_mode & stat.S_IWOTH:
            raise UnsafeFolderError(f"{folder}: the folder is world-writable; nothing is deleted")
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def make_folder(folder: str, parts: Sequence[str]) -> Iterator[int]:
    """Open `folder`/`parts`, creating missing folders durably; of `folder` only the last one."""
    pure = PurePosixPath(folder)
    with open_folder(str(pure.parent)) as root:
        descriptor = os.dup(root)
        try:
            for part in (pure.name, *parts):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, _OURS, dir_fd=descriptor)
                    os.fsync(descriptor)
                below = _below(descriptor, part, folder)
                os.close(descriptor)
                descriptor = below
                if os.fstat(descriptor).st_mode & (stat.S_IWOTH | stat.S_IWGRP):
                    raise UnsafeFolderError(
                        f"{folder}: {part!r} is writable by others; nothing is archived there"
                    )
            yield descriptor
        finally:
            os.close(descriptor)


def open_regular(folder: int, name: str, flags: int = os.O_RDONLY, mode: int = 0) -> int:
    """Open a regular file of a folder; the opening of a FIFO or a device does not block.

    Raises UnsafeFolderError for any other kind of file, and for a link.
    """
    descriptor = os.open(
        name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode, dir_fd=folder
    )
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnsafeFolderError(f"{name} is not a regular file")
    return descriptor


def _below(descriptor: int, part: str, folder: str) -> int:
    try:
        return os.open(part, _FOLDER, dir_fd=descriptor)
    except NotADirectoryError:
        raise UnsafeFolderError(
            f"{folder}: {part!r} is a link or not a folder; give the real path"
        ) from None
