"""Deletion of old files in one folder.

A file is examined and unlinked through its folder's descriptor. No path is resolved twice, so
replacing a file or folder by a link in between has no effect outside the folder.
"""

import fnmatch
import os
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from execution.control import Halted, StepControl
from execution.step import HostStep, Outcome, Status
from retention.files.open_files import Inode
from retention.files.safe_open import open_folder

SHALLOWEST = 2
YOUNGEST_SECONDS = 3600.0
"""Files younger than this are kept whatever a size limit says: they may still be written to."""
COMPRESSED, PARTIAL = ".gz", ".gz.sereno"


@dataclass(frozen=True, slots=True)
class File:
    """A file as it was seen; it is deleted only if nothing of this has changed."""

    name: str
    device: int
    inode: int
    bytes: int
    changed_at: float
    """The later of mtime and ctime: resetting a file's times does not make it older."""
    owner: int = 0


@dataclass(frozen=True, slots=True)
class FileRule:
    """The files of a folder that expire, and how many may go at once."""

    path: str
    keep_seconds: float | None
    keep_newest: int
    most_files: int
    most_share: float
    total_bytes: int | None = None
    """The oldest files are deleted until the rest is no larger than this."""
    compress_seconds: float | None = None
    owner: int | None = None
    """The user id of the files; None for any."""
    busy: frozenset[Inode] = frozenset()
    """Files that are open or a server's current log; they are kept whatever their age."""

    def by_mtime(self, name: str) -> bool:
        """Return whether mtime alone counts: a compressed file is a new inode with a new ctime."""
        return self.compress_seconds is not None and name.endswith(COMPRESSED)

    @property
    def folder(self) -> str:
        """Return the folder."""
        return str(PurePosixPath(self.path).parent)

    @property
    def pattern(self) -> str:
        """Return the pattern of the file names."""
        return PurePosixPath(self.path).name


def check_path(path: str) -> str:
    """Return a path that a rule may have. Raises ValueError if it is dangerous."""
    pure = PurePosixPath(path)
    example = '(like "/var/log/coop/*.log*")'
    if not pure.is_absolute() or ".." in pure.parts or "\x00" in path:
        raise ValueError(f'"{path}" is not an absolute path without ".." {example}')
    if len(pure.parent.parts) - 1 < SHALLOWEST:
        raise ValueError(
            f'"{path}" is too near the root: the folder has to be {SHALLOWEST} levels deep '
            f"{example}"
        )
    if any(set(part) & set("*?[") for part in pure.parent.parts):
        raise ValueError(
            f'"{path}": a pattern may be in the file name only, not in a folder {example}'
        )
    return path


SERVER_FOLDERS = frozenset({"base", "global"})
"""Folders of a data directory that hold its data, besides those that begin with pg_."""


def _is_of_server(folder: str) -> bool:
    return folder in SERVER_FOLDERS or (folder.startswith("pg_") and folder != "pg_log")


def data_directory_of(folder: str) -> str:
    """Return the data directory whose data lie in a folder; empty if it holds none.

    Another folder inside a data directory may be that of the server's log files.
    """
    path = PurePosixPath(folder)
    for place in (path, *path.parents):
        try:
            found = os.path.lexists(place / "PG_VERSION")
        except OSError:
            found = False
        inside = path.relative_to(place).parts[:1]
        if found and all(map(_is_of_server, inside)):
            return str(place)
    return ""


def _size(files: Sequence[File]) -> int:
    return sum(file.bytes for file in files)


def expired_files(rule: FileRule, now: float) -> tuple[Sequence[File], str]:
    """Return the expired files, oldest first, and a note why others stay. Reads only."""
    files, may = _seen(rule)
    age = rule.keep_seconds
    old = [file for file in may if age is not None and file.changed_at < now - age]
    if files and len(old) / len(files) > rule.most_share:
        share = f"{len(old)} of {len(files)} files have expired, more than {rule.most_share:.0%}"
        return (), f"{share}: is the clock right? Nothing is deleted (most_share)"
    if rule.total_bytes is not None:
        over = _size(files) - _size(old) - rule.total_bytes
        for file in may[len(old) :]:
            if over <= 0 or file.changed_at >= now - YOUNGEST_SECONDS:
                break
            old.append(file)
            over -= file.bytes
    note = ""
    if len(old) > rule.most_files:
        note = f"{len(old) - rule.most_files} more in the next run (most_files)"
    return old[: rule.most_files], note


def compressible_files(rule: FileRule, now: float) -> Sequence[File]:
    """Return the files old enough to compress and too young to delete. Reads only."""
    age = rule.compress_seconds
    if age is None:
        return ()
    _, may = _seen(rule)
    leaving = set(expired_files(rule, now)[0])
    old = [file for file in may if file.changed_at < now - age and file not in leaving]
    return [file for file in old if not file.name.endswith(COMPRESSED)][: rule.most_files]


def _seen(rule: FileRule) -> tuple[Sequence[File], Sequence[File]]:
    """Return all files of a rule, oldest first, and those that may be touched."""
    with open_folder(rule.folder) as descriptor:
        files = sorted(_files(descriptor, rule), key=lambda file: file.changed_at)
    older = files[: max(0, len(files) - rule.keep_newest)]
    return files, [file for file in older if (file.device, file.inode) not in rule.busy]


def _files(descriptor: int, rule: FileRule) -> Iterator[File]:
    """Yield regular files with one link; symbolic links, folders, pipes and hard links are skipped.

    Files of other owners and files on another device are skipped as well.
    """
    device = os.fstat(descriptor).st_dev
    for name in os.listdir(descriptor):
        if name.endswith(PARTIAL) or not _matches(rule, name):
            continue
        file = stat_file(descriptor, name, by_mtime=rule.by_mtime(name))
        if file is not None and file.device == device and rule.owner in {None, file.owner}:
            yield file


def _matches(rule: FileRule, name: str) -> bool:
    """Return whether a name matches; a compressed file matches by its original name."""
    plain = name.removesuffix(COMPRESSED) if rule.compress_seconds is not None else name
    return fnmatch.fnmatchcase(name, rule.pattern) or fnmatch.fnmatchcase(plain, rule.pattern)


def stat_file(descriptor: int, name: str, *, by_mtime: bool = False) -> File | None:
    """Return one entry of a folder; None if it is gone or no regular file with one link."""
    try:
        entry = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(entry.st_mode) or entry.st_nlink != 1:
        return None
    changed = entry.st_mtime if by_mtime else max(entry.st_mtime, entry.st_ctime)
    return File(name, entry.st_dev, entry.st_ino, entry.st_size, changed, entry.st_uid)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteFiles(HostStep):
    """Delete the planned files of one folder that have not changed."""

    rule: FileRule
    files: Sequence[File]
    limit_seconds: float = 3600.0
    name: str = "delete files"

    def statement(self) -> str:
        """Return the command for people to read."""
        return "unlink " + " ".join(file.name for file in self.files)

    def apply(self, control: StepControl) -> Outcome:
        """Unlink the files through the folder's descriptor."""
        if not self.files:
            return Outcome(Status.SKIPPED, self.why)
        gone = freed = 0
        with open_folder(self.rule.folder) as descriptor:
            for file in self.files:
                try:
                    control.wait_while_paused()
                except Halted:
                    return Outcome(
                        Status.UNFINISHED, f"{len(self.files) - gone} files left", gone, freed
                    )
                if self._unlink(descriptor, file):
                    gone, freed = gone + 1, freed + file.bytes
                control.advance(gone, len(self.files))
        if gone < len(self.files):
            reason = (
                f"{len(self.files) - gone} files had changed or may not be deleted; they are kept"
            )
            return Outcome(Status.DONE if gone else Status.INEFFECTIVE, reason, gone, freed)
        return Outcome(Status.DONE, rows=gone, bytes=freed)

    def _youngest(self) -> float:
        age = self.rule.keep_seconds
        if self.rule.total_bytes is None and age is not None:
            return age
        if age is None:
            return YOUNGEST_SECONDS
        return min(age, YOUNGEST_SECONDS)

    def _unlink(self, descriptor: int, file: File) -> bool:
        """Unlink one file if it has not changed; return whether it was.

        One that cannot go is skipped.
        """
        try:
            there = stat_file(descriptor, file.name, by_mtime=self.rule.by_mtime(file.name))
            if there != file or file.changed_at >= time.time() - self._youngest():
                return False
            os.unlink(file.name, dir_fd=descriptor)
        except OSError:
            return False
        return True
