"""Locks on files, held by the kernel: a lock ends with its process."""

import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

POLL_SECONDS = 0.1


class LockHeldError(Exception):
    """Another process holds the lock."""


def match_folder_owner(path: Path) -> None:
    """Give a file made by root to the owner of its folder, so that the service can use it."""
    owner = path.parent.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def write_new(path: Path, text: str, mode: int) -> None:
    """Write a file that does not exist; made by root it belongs to the owner of its folder.

    Raises OSError. No link is followed, and owner and mode are set on the open file.
    """
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path.name, flags, mode, dir_fd=folder)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            owner = os.fstat(folder)
            if os.geteuid() == 0:
                os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            os.fchmod(file.fileno(), mode)
            file.write(text)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        os.close(folder)


def replace_file(path: Path, text: str, mode: int) -> None:
    """Replace a file in one step: a reader sees the old one or the new one. Raises OSError.

    Owner and mode are those of `write_new`.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        write_new(beside, text, mode)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


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
def exclusive_lock(path: Path, patience_seconds: float = 0.0) -> Iterator[None]:
    """Hold `path` by flock(2) for the body; the file keeps the process id.

    Raises LockHeldError, naming the holder, after the patience.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        match_folder_owner(path)
        if not _had(descriptor, time.monotonic() + patience_seconds):
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            raise LockHeldError(f"{path} is held by process {holder or 'unknown'}")
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode("ascii"), 0)
        yield
    finally:
        os.close(descriptor)
