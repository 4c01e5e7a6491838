"""Old files leave a folder, and nothing but old files of that folder.

A file is looked at and unlinked by its folder's descriptor. A path is never resolved a second time, so whoever swaps
a file or a folder for a link meanwhile gains nothing: what is unlinked is an entry of the folder that was opened.
"""

import fnmatch
import os
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from execution.control import Halted, Pace
from execution.step import Outcome, Status
from postgres.session import Session
from retention.files.open_files import Inode
from retention.files.safe_open import opened

SHALLOWEST = 2
YOUNGEST_SECONDS = 3600.0
"""Whatever a limit of size says: somebody may still write to a file that is younger."""
COMPRESSED, PARTIAL = ".gz", ".gz.sereno"


@dataclass(frozen=True, slots=True)
class File:
    """An entry as it was seen: it is deleted only if it is still the same."""

    name: str
    device: int
    inode: int
    bytes: int
    changed_at: float
    """The later of mtime and ctime: a file whose times were set back is as young as its inode."""
    owner: int = 0


@dataclass(frozen=True, slots=True)
class Rule:
    """What expires in a folder, and how much may go at once."""

    path: str
    keep_seconds: float | None
    keep_newest: int
    most_files: int
    most_share: float
    total_bytes: int | None = None
    """The oldest leave until the rest is no larger."""
    compress_seconds: float | None = None
    owner: int | None = None
    """Only files of this user."""
    busy: frozenset[Inode] = frozenset()
    """What is open somewhere, or is a server's current log, and stays whatever its age."""

    def by_mtime(self, name: str) -> bool:
        """Say whether a file's own time says how old it is: compressing gave the file another inode, a young one."""
        return self.compress_seconds is not None and name.endswith(COMPRESSED)

    @property
    def folder(self) -> str:
        """The folder."""
        return str(PurePosixPath(self.path).parent)

    @property
    def pattern(self) -> str:
        """What names in it have to look like."""
        return PurePosixPath(self.path).name


def check_path(path: str) -> str:
    """Return a path that a rule may have; ValueError says what is dangerous about another."""
    pure = PurePosixPath(path)
    example = '(like "/var/log/coop/*.log*")'
    if not pure.is_absolute() or ".." in pure.parts or "\x00" in path:
        raise ValueError(f'"{path}" is not an absolute path without ".." {example}')
    if len(pure.parent.parts) - 1 < SHALLOWEST:
        raise ValueError(f'"{path}" is too near the root: the folder has to be {SHALLOWEST} levels deep {example}')
    if any(set(part) & set("*?[") for part in pure.parent.parts):
        raise ValueError(f'"{path}": a pattern is for names in one folder, not for folders {example}')
    return path


def expired(rule: Rule, now: float) -> tuple[Sequence[File], str]:
    """Look (nothing else): return the files that have expired, oldest first, and why the rest of them stays."""
    files, may = _seen(rule)
    age = rule.keep_seconds
    old = [file for file in may if age is not None and file.changed_at < now - age]
    if files and len(old) / len(files) > rule.most_share:
        share = f"{len(old)} of {len(files)} files have expired, more than {rule.most_share:.0%}"
        return (), f"{share}: is the clock right? Nothing is deleted (most_share)"
    over = sum(file.bytes for file in files) - sum(file.bytes for file in old) - (rule.total_bytes or 0)
    for file in may[len(old) :] if rule.total_bytes is not None else ():
        if over <= 0 or file.changed_at >= now - YOUNGEST_SECONDS:
            break
        old.append(file)
        over -= file.bytes
    note = f"{len(old) - rule.most_files} more next time (most_files)" if len(old) > rule.most_files else ""
    return old[: rule.most_files], note


def compressible(rule: Rule, now: float) -> Sequence[File]:
    """Look (nothing else): return the files that are old enough to be compressed, and not old enough to leave."""
    age = rule.compress_seconds
    if age is None:
        return ()
    _, may = _seen(rule)
    leaving = set(expired(rule, now)[0])
    old = [file for file in may if file.changed_at < now - age and file not in leaving]
    return [file for file in old if not file.name.endswith(COMPRESSED)][: rule.most_files]


def _seen(rule: Rule) -> tuple[Sequence[File], Sequence[File]]:
    """Return all files of a rule, oldest first, and those that may be touched: not the newest, nor open ones."""
    with opened(rule.folder) as descriptor:
        files = sorted(_files(descriptor, rule), key=lambda file: file.changed_at)
    older = files[: max(0, len(files) - rule.keep_newest)]
    return files, [file for file in older if (file.device, file.inode) not in rule.busy]


def _files(descriptor: int, rule: Rule) -> Iterator[File]:
    """Yield regular files of one name and one link; links, folders, pipes and hard-linked files are left alone.

    So are files of other owners than the rule's, and those that are mounted into the folder.
    """
    device = os.fstat(descriptor).st_dev
    for name in os.listdir(descriptor):
        if name.endswith(PARTIAL) or not _matches(rule, name):
            continue
        file = look(descriptor, name, by_mtime=rule.by_mtime(name))
        if file is not None and file.device == device and rule.owner in {None, file.owner}:
            yield file


def _matches(rule: Rule, name: str) -> bool:
    """Say whether a name is meant; what was compressed is so by the name that it had."""
    plain = name.removesuffix(COMPRESSED) if rule.compress_seconds is not None else name
    return fnmatch.fnmatchcase(name, rule.pattern) or fnmatch.fnmatchcase(plain, rule.pattern)


def look(descriptor: int, name: str, *, by_mtime: bool = False) -> File | None:
    """Look at one entry of a folder; None: it is gone, or no file of one name."""
    try:
        entry = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(entry.st_mode) or entry.st_nlink != 1:
        return None
    changed = entry.st_mtime if by_mtime else max(entry.st_mtime, entry.st_ctime)
    return File(name, entry.st_dev, entry.st_ino, entry.st_size, changed, entry.st_uid)


@dataclass(frozen=True, slots=True)
class FolderCleanup:
    """Delete the planned files of one folder that are still what they were."""

    rule: Rule
    files: Sequence[File]
    why: str
    predicted_seconds: float = 0.0
    limit_seconds: float = 3600.0
    alone: bool = False
    name: str = "delete files"
    lock: str = ""

    @property
    def object(self) -> str:
        """The rule's path."""
        return self.rule.path

    def statement(self) -> str:
        """Return the names."""
        return "unlink " + " ".join(file.name for file in self.files)

    def apply(self, _session: Session | None, pace: Pace) -> Outcome:
        """Unlink one by one, by the folder's descriptor."""
        if not self.files:
            return Outcome(Status.SKIPPED, self.why)
        gone = freed = 0
        with opened(self.rule.folder) as descriptor:
            for file in self.files:
                try:
                    pace.proceed()
                except Halted:
                    return Outcome(Status.UNFINISHED, f"{len(self.files) - gone} files left", gone, freed)
                if self._unlink(descriptor, file):
                    gone, freed = gone + 1, freed + file.bytes
                pace.advance(gone, len(self.files))
        if gone < len(self.files):
            reason = f"{len(self.files) - gone} files had changed meanwhile, or may not be deleted, and stay"
            return Outcome(Status.DONE if gone else Status.INEFFECTIVE, reason, gone, freed)
        return Outcome(Status.DONE, rows=gone, bytes=freed)

    def _youngest(self) -> float:
        age = self.rule.keep_seconds
        if self.rule.total_bytes is None and age is not None:
            return age
        return YOUNGEST_SECONDS if age is None else min(age, YOUNGEST_SECONDS)

    def _unlink(self, descriptor: int, file: File) -> bool:
        """Delete one file if it is still the same; one that may not be deleted keeps no other from leaving."""
        try:
            there = look(descriptor, file.name, by_mtime=self.rule.by_mtime(file.name))
            if there != file or file.changed_at >= time.time() - self._youngest():
                return False
            os.unlink(file.name, dir_fd=descriptor)
        except OSError:
            return False
        return True
