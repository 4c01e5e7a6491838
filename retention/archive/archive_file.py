"""The archive files of one table: which file is appended to, and which bytes are cut off.

One process at a time appends to a file (flock on its folder), and only the writer named in its
manifest. Bytes behind the last ledgered batch were never committed: their rows are still in the
table, so they are cut off. A file that contradicts the ledger in any other way is left alone and a
new one is begun.
"""

import errno
import fcntl
import os
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
from retention.files.safe_open import make_folder, open_regular

_WRITE = os.O_RDWR | os.O_APPEND | os.O_CREAT
_MODE = 0o600
SUFFIX = ".copy.zst"
MANIFEST_SUFFIX = ".manifest.jsonl"
MOST_MANIFEST_BYTES = 256 * 1024**2
"""A million batches of a month."""

WriteRows = Callable[[Callable[[bytes], None]], int]
"""Writes the rows of one batch to the given function and returns their number."""

ReadLedger = Callable[[], Mapping[str, Sequence[Entry]]]
"""Returns the batches in the ledger by file name."""


class ArchiveFile:
    """One file, open for appending after `position`."""

    def __init__(self, name: str, descriptor: int, notes: int, position: int) -> None:
        self.name = name
        self._descriptor, self._notes = descriptor, notes
        self._position = self._end = position

    def begin(self) -> None:
        """Begin a transaction: cut off what an earlier one left behind the last commit."""
        os.ftruncate(self._descriptor, self._position)
        self._end = self._position

    def append(self, fill: WriteRows) -> Frame:
        """Append a frame, synced and read back. Raises OSError if that fails."""
        with ThreadPoolExecutor(1, thread_name_prefix="compress") as pool:
            writer = FrameWriter(self._descriptor, pool)
            frame = writer.finish(self._end, fill(writer.write))
        self._end += frame.length
        return frame

    def committed(self, entries: Sequence[Entry]) -> None:
        """Record that the transaction of these frames has been committed."""
        self._position = self._end
        _write(self._notes, b"".join(manifest.line(entry) for entry in entries))


def table_folders(database: str, schema: str, table: str) -> tuple[str, str, str]:
    """Return the folders of a table inside the archive, with special characters escaped."""
    return _plain(database), _plain(schema), _plain(table)


def _plain(name: str) -> str:
    safe = quote(name, safe="")
    if safe.startswith("."):
        return "%2E" + safe[1:]
    return safe


@dataclass(frozen=True, slots=True)
class TableArchive:
    """The archive of one table: its root folder, the writer, and the columns of its lines."""

    root: str
    writer: Writer
    columns: ColumnTypes

    @property
    def destination(self) -> str:
        """Return the destination as written in the configuration."""
        return f"file://{self.root}"

    @property
    def folder(self) -> str:
        """Return the folder of the table, relative to the root."""
        return "/".join(table_folders(self.writer.database, self.writer.schema, self.writer.table))

    @contextmanager
    def open_file(self, month: str, ledgered: ReadLedger) -> Iterator[ArchiveFile]:
        """Open the file of a month (such as 2026-11) for appending.

        Raises OSError if another process writes there, or a file is shorter than the ledger says.
        """
        who = self.writer
        with make_folder(self.root, table_folders(who.database, who.schema, who.table)) as folder:
            _alone(folder)
            known = ledgered()
            stems = (
                month if generation == 1 else f"{month}-{generation}" for generation in count(1)
            )
            stem = next(
                stem for stem in stems if self._ours(folder, stem, known.get(stem + SUFFIX, ()))
            )
            with self._opened(folder, stem, known.get(stem + SUFFIX, ())) as file:
                yield file

    def remove(self, name: str, batches: Callable[[], Sequence[str]]) -> Sequence[str]:
        """Delete a file if `batches` returns any; return them.

        Raises DamagedError if its manifest names another writer, or holds batches that the ledger
        lacks. The system identifier is not compared: an upgraded server has a new one.
        """
        stem = name.removesuffix(SUFFIX)
        with make_folder(
            self.root, table_folders(self.writer.database, self.writer.schema, self.writer.table)
        ) as folder:
            _alone(folder)
            known = batches()
            if not known:
                return ()
            before = read_manifest(folder, stem)
            if _exists(folder, name) and not (before and self._may_append(before, known)):
                raise DamagedError(
                    f"{name}: its manifest does not name this sereno as its writer; the file "
                    "is kept"
                )
            # the manifest is written last, since it claims the file
            for gone in (
                name,
                stem + MANIFEST_SUFFIX,
            ):
                with suppress(FileNotFoundError):
                    os.unlink(gone, dir_fd=folder)
                    os.fsync(folder)
            return known

    def _may_append(self, before: Manifest, known: Sequence[str]) -> bool:
        """Return whether this instance wrote the file for this table, with known batches only."""
        same = replace(before.writer, system_identifier="", database_oid=0)
        ours = replace(self.writer, system_identifier="", database_oid=0)
        return same == ours and {entry.batch for entry in before.entries} <= set(known)

    def _ours(self, folder: int, stem: str, entries: Sequence[Entry]) -> bool:
        """Return whether a file is new or may be continued."""
        before = read_manifest(folder, stem)
        if before is None:
            return (
                not _exists(folder, stem + SUFFIX)
                and not _exists(folder, stem + MANIFEST_SUFFIX)
                and not entries
            )
        # the ledger has fewer batches than the file: a copied or restored database
        ahead = before.end > _end(entries)
        return before.writer == self.writer and before.columns == self.columns and not ahead

    @contextmanager
    def _opened(self, folder: int, stem: str, entries: Sequence[Entry]) -> Iterator[ArchiveFile]:
        notes = open_regular(folder, stem + MANIFEST_SUFFIX, _WRITE, _MODE)
        try:
            self._reconcile(notes, entries)
            os.fsync(folder)
            descriptor = open_regular(folder, stem + SUFFIX, _WRITE, _MODE)
            try:
                _require_one_link(descriptor, stem)
                size, end = os.fstat(descriptor).st_size, _end(entries)
                if size < end:
                    raise DamagedError(
                        f"{stem + SUFFIX} has {size} bytes but batches up to {end}: it is damaged"
                    )
                os.fsync(folder)
                yield ArchiveFile(stem + SUFFIX, descriptor, notes, end)
            finally:
                os.close(descriptor)
        finally:
            with suppress(OSError):
                os.fsync(notes)
            os.close(notes)

    def _reconcile(self, notes: int, entries: Sequence[Entry]) -> None:
        """Complete a manifest: its header before the file's first byte, then missing batches."""
        text = _whole(notes)
        before = manifest.read(text)
        os.ftruncate(notes, text.rfind(b"\n") + 1)
        if before is None:
            _write(
                notes,
                manifest.header(
                    self.writer, self.columns, datetime.now(UTC).isoformat(timespec="seconds")
                ),
            )
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
        raise OSError(errno.EAGAIN, "another process is writing to this archive folder") from None


def _require_one_link(descriptor: int, name: str) -> None:
    if os.fstat(descriptor).st_nlink != 1:
        raise DamagedError(f"{name} has several links; nothing is written to it")


def _exists(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def read_manifest(folder: int, stem: str) -> Manifest | None:
    """Return a file's manifest; None if there is none. Raises OSError if it is too long."""
    try:
        descriptor = open_regular(folder, stem + MANIFEST_SUFFIX)
    except FileNotFoundError:
        return None
    try:
        if os.fstat(descriptor).st_size > MOST_MANIFEST_BYTES:
            raise DamagedError(f"{stem + MANIFEST_SUFFIX} is longer than any manifest")
        return manifest.read(_whole(descriptor))
    finally:
        os.close(descriptor)


def _whole(descriptor: int) -> bytes:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
