"""The files of one table in an archive: which one is written to, and what of it may be cut off.

A file is appended to by one process at a time (flock on its folder), and only by who its manifest says has begun it.
What lies behind its last ledgered batch was never committed: the rows are still in the table, and it is cut off.
Everything else that does not fit together is left as it is, and a new file is begun.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count
from urllib.parse import quote

from postgres.identifiers import ColumnTypes
from retention.archive import manifest
from retention.archive.frame import DamagedError, Frame, FrameWriter
from retention.archive.manifest import Entry, Manifest, Writer
from retention.files.safe_open import made

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_WRITE = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_MODE = 0o600
SUFFIX = ".copy.zst"
MANIFEST_SUFFIX = ".manifest.jsonl"

Fill = Callable[[Callable[[bytes], None]], int]
"""Writes the rows of one batch to what it is given, and returns how many."""

Known = Callable[[], Mapping[str, Sequence[Entry]]]
"""Reads what the ledger knows of the files, by their names."""


class Volume:
    """One file, open for appending after `position`."""

    def __init__(self, name: str, descriptor: int, notes: int, position: int) -> None:
        self.name = name
        self._descriptor, self._notes = descriptor, notes
        self._position = self._end = position

    def begin(self) -> None:
        """Begin a transaction: what one before has left behind the last commit is cut off."""
        os.ftruncate(self._descriptor, self._position)
        self._end = self._position

    def append(self, fill: Fill) -> Frame:
        """Append a frame, durable and read back. OSError: it could not be written, or is not what was written."""
        with ThreadPoolExecutor(1, thread_name_prefix="compress") as pool:
            writer = FrameWriter(self._descriptor, pool)
            frame = writer.finish(self._end, fill(writer.write))
        self._end += frame.length
        return frame

    def committed(self, entries: Sequence[Entry]) -> None:
        """The transaction that these frames belong to has been committed."""
        self._position = self._end
        _write(self._notes, b"".join(manifest.line(entry) for entry in entries))


def parts(database: str, schema: str, table: str) -> tuple[str, str, str]:
    """Return the folders of a table below the archive's: names may be anything, so what is not plain is escaped."""
    return _plain(database), _plain(schema), _plain(table)


def _plain(name: str) -> str:
    safe = quote(name, safe="")
    return "%2E" + safe[1:] if safe.startswith(".") else safe


@dataclass(frozen=True, slots=True)
class Shelf:
    """Where the files of a table are, who writes them, and what their lines are made of."""

    root: str
    writer: Writer
    columns: ColumnTypes

    @property
    def destination(self) -> str:
        """The root as the configuration writes it."""
        return f"file://{self.root}"

    @property
    def folder(self) -> str:
        """Where they are below the root."""
        return "/".join(parts(self.writer.database, self.writer.schema, self.writer.table))

    @contextmanager
    def volume(self, month: str, ledgered: Known) -> Iterator[Volume]:
        """Open the file of a month (like 2026-11) to be written to.

        OSError: another process writes there, or a file is shorter than the ledger says.
        """
        who = self.writer
        with made(self.root, parts(who.database, who.schema, who.table)) as folder:
            _alone(folder)
            known = ledgered()
            stems = (month if generation == 1 else f"{month}-{generation}" for generation in count(1))
            stem = next(stem for stem in stems if self._ours(folder, stem, known.get(stem + SUFFIX, ())))
            with self._opened(folder, stem, known.get(stem + SUFFIX, ())) as volume:
                yield volume

    def remove(self, name: str, batches: Callable[[], Sequence[str]]) -> Sequence[str]:
        """Remove one of its files, while nobody writes there, if it has `batches`; return them.

        DamagedError: its manifest does not say that this instance has written it, or knows of more than the ledger.
        A server that was upgraded since has another identifier, so that is not asked for.
        """
        stem = name.removesuffix(SUFFIX)
        with made(self.root, parts(self.writer.database, self.writer.schema, self.writer.table)) as folder:
            _alone(folder)
            known = batches()
            if not known:
                return ()
            before = _manifest(folder, stem)
            if _exists(folder, name) and not (before and self._akin(before, known)):
                raise DamagedError(f"{name}: its manifest does not say that we have written it; it stays")
            for gone in (name, stem + MANIFEST_SUFFIX):  # the manifest last: it says whose the file is
                with suppress(FileNotFoundError):
                    os.unlink(gone, dir_fd=folder)
                    os.fsync(folder)
            return known

    def _akin(self, before: Manifest, known: Sequence[str]) -> bool:
        """Say whether a file is this instance's, of this table, and holds nothing that is not known."""
        same = replace(before.writer, system_identifier="", database_oid=0)
        mine = replace(self.writer, system_identifier="", database_oid=0)
        return same == mine and {entry.batch for entry in before.entries} <= set(known)

    def _ours(self, folder: int, stem: str, entries: Sequence[Entry]) -> bool:
        """Say whether a file is new, or ours to go on with."""
        before = _manifest(folder, stem)
        if before is None:
            return not _exists(folder, stem + SUFFIX) and not _exists(folder, stem + MANIFEST_SUFFIX) and not entries
        ahead = before.end > _end(entries)  # the database knows less than it did: it is a copy, or was set back
        return before.writer == self.writer and before.columns == self.columns and not ahead

    @contextmanager
    def _opened(self, folder: int, stem: str, entries: Sequence[Entry]) -> Iterator[Volume]:
        notes = os.open(stem + MANIFEST_SUFFIX, _WRITE, _MODE, dir_fd=folder)
        try:
            self._reconcile(notes, entries)
            os.fsync(folder)
            descriptor = os.open(stem + SUFFIX, _WRITE, _MODE, dir_fd=folder)
            try:
                _regular(descriptor, stem)
                size, end = os.fstat(descriptor).st_size, _end(entries)
                if size < end:
                    raise DamagedError(f"{stem + SUFFIX} has {size} bytes, and batches up to {end}: it is damaged")
                os.fsync(folder)
                yield Volume(stem + SUFFIX, descriptor, notes, end)
            finally:
                os.close(descriptor)
        finally:
            with suppress(OSError):
                os.fsync(notes)
            os.close(notes)

    def _reconcile(self, notes: int, entries: Sequence[Entry]) -> None:
        """Write what is missing in a manifest: its header (before the first byte of the file), the last batches."""
        text = _whole(notes)
        before = manifest.read(text)
        os.ftruncate(notes, text.rfind(b"\n") + 1)
        if before is None:
            _write(notes, manifest.header(self.writer, self.columns, datetime.now(UTC).isoformat(timespec="seconds")))
        written = {entry.batch for entry in before.entries} if before else set()
        for entry in entries:
            if entry.batch not in written:
                _write(notes, manifest.line(entry))
        os.fsync(notes)


def _end(entries: Sequence[Entry]) -> int:
    return max((entry.frame.position + entry.frame.length for entry in entries), default=0)


def _alone(folder: int) -> None:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OSError(errno.EAGAIN, "another process writes to this folder of the archive") from None


def _regular(descriptor: int, name: str) -> None:
    entry = os.fstat(descriptor)
    if not stat.S_ISREG(entry.st_mode) or entry.st_nlink != 1:
        raise DamagedError(f"{name} is not a file of its own; nothing is written to it")


def _exists(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _manifest(folder: int, stem: str) -> Manifest | None:
    try:
        descriptor = os.open(stem + MANIFEST_SUFFIX, _READ, dir_fd=folder)
    except FileNotFoundError:
        return None
    try:
        return manifest.read(_whole(descriptor))
    finally:
        os.close(descriptor)


def _whole(descriptor: int) -> bytes:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
