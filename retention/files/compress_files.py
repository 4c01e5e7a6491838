"""Compression of old files in place; the original is deleted after the copy has been read back."""

import gzip
import hashlib
import os
import shutil
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from io import BufferedRandom, BufferedReader

from execution.control import Halted, StepControl
from execution.step import HostStep, Outcome, Status
from retention.files.delete_files import COMPRESSED, PARTIAL, File, FileRule, stat_file
from retention.files.safe_open import open_folder

PIECE_BYTES = 256 * 1024
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a FIFO must not block
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressFiles(HostStep):
    """Compress the planned files of one folder that have not changed (gzip format)."""

    rule: FileRule
    files: Sequence[File]
    limit_seconds: float = 3600.0
    name: str = "compress files"

    def statement(self) -> str:
        """Return the command for people to read."""
        return "gzip " + " ".join(file.name for file in self.files)

    def apply(self, control: StepControl) -> Outcome:
        """Compress the files through the folder's descriptor; `bytes` is the space freed."""
        done = freed = 0
        with open_folder(self.rule.folder) as folder:
            for file in self.files:
                try:
                    control.wait_while_paused()
                except Halted:
                    return Outcome(
                        Status.UNFINISHED, f"{len(self.files) - done} files left", done, freed
                    )
                size = _compressed(folder, file)
                if size is not None:
                    done, freed = done + 1, freed + file.bytes - size
                control.advance(done, len(self.files))
        if done < len(self.files):
            reason = (
                f"{len(self.files) - done} files had changed or could not be compressed; they "
                "are kept"
            )
            return Outcome(Status.DONE if done else Status.INEFFECTIVE, reason, done, freed)
        return Outcome(Status.DONE, rows=done, bytes=freed)


def _compressed(folder: int, file: File) -> int | None:
    """Compress one file and delete it; return its new size, or None if it was left alone."""
    try:
        with ExitStack() as stack:
            source = stack.enter_context(os.fdopen(os.open(file.name, _READ, dir_fd=folder), "rb"))
            if (
                stat_file(folder, file.name) != file
                or os.fstat(source.fileno()).st_ino != file.inode
            ):
                return None
            partial = f".{file.name}{PARTIAL}"
            with suppress(FileNotFoundError):  # left by an interrupted run
                os.unlink(partial, dir_fd=folder)
            target = stack.enter_context(
                os.fdopen(os.open(partial, _NEW, 0o600, dir_fd=folder), "r+b")
            )
            stack.callback(_gone, folder, partial)
            _compress(source, target)
            _like(source, target)
            if (
                not _named(folder, partial, file.name + COMPRESSED, source)
                or stat_file(folder, file.name) != file
            ):
                return None
            os.fsync(folder)
            # checked before the original is removed: a file with several links is kept
            _gone(folder, partial)
            os.unlink(file.name, dir_fd=folder)
            return os.fstat(target.fileno()).st_size
    except OSError:
        return None


def _compress(source: BufferedReader, target: BufferedRandom) -> None:
    """Write the compressed copy, sync it, read it back. Raises OSError if it differs."""
    with gzip.GzipFile("", "wb", fileobj=target, mtime=0) as packer:
        shutil.copyfileobj(source, packer, PIECE_BYTES)
    target.flush()
    os.fsync(target.fileno())
    if _unpacked(target) != _digest(source):
        raise OSError("the compressed copy differs from the original")


def _like(source: BufferedReader, target: BufferedRandom) -> None:
    """Copy owner (as far as permitted), mode and times of the original."""
    entry = os.fstat(source.fileno())
    with suppress(PermissionError):
        os.fchown(target.fileno(), entry.st_uid, entry.st_gid)
    os.fchmod(target.fileno(), entry.st_mode & 0o777)
    os.utime(target.fileno(), ns=(entry.st_atime_ns, entry.st_mtime_ns))


def _named(folder: int, partial: str, name: str, source: BufferedReader) -> bool:
    """Link the copy to its name; an equal file left by an interrupted run is accepted."""
    try:
        os.link(partial, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        with os.fdopen(os.open(name, _READ, dir_fd=folder), "rb") as there:
            return _unpacked(there) == _digest(source)
    return True


def _unpacked(file: BufferedReader | BufferedRandom) -> str:
    file.seek(0)
    with gzip.GzipFile(fileobj=file, mode="rb") as unpacker:
        return hashlib.file_digest(unpacker, "sha256").hexdigest()


def _digest(file: BufferedReader | BufferedRandom) -> str:
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()


def _gone(folder: int, name: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
