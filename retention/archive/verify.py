"""Verification of an archive: every ledgered batch is read again, and unknown files are named."""

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import PurePosixPath

from psycopg import sql

from postgres.fencing.ownership import is_installed_table
from postgres.identifiers import Relation
from postgres.session import Session
from retention.archive import ledger, scratch_table
from retention.archive.archive_file import SUFFIX, read_manifest
from retention.archive.frame import DamagedError, read_lines
from retention.archive.ledger import LedgeredBatch
from retention.archive.manifest import Manifest
from retention.files.safe_open import open_folder, open_regular
from retention.partitions import detach

_OUT = sql.SQL("COPY {} TO STDOUT (FORMAT text, ENCODING 'UTF8')").format(scratch_table.TABLE)

STRANDED = "detached since {} but not yet archived or dropped; the next run finishes it"

BEHIND = (
    "{} bytes behind its last batch: left by an interrupted run (the next run cuts them off), or "
    "batches that the"
    " database no longer knows because it was reset (they are kept, and a new file is begun)"
)

Progress = Callable[[LedgeredBatch], object]
Loader = Callable[[Relation], Session | str]
"""Returns a session of the trust domain of a table, or the reason why there is none."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A problem of one file."""

    file: str
    what: str


@dataclass(frozen=True, slots=True)
class Verified:
    """The amount verified, and the problems found."""

    files: int
    batches: int
    rows: int
    bytes: int
    faults: Sequence[Fault]


def verify(
    session: Session, *, loader: Loader | None = None, progress: Progress = lambda _: None
) -> Verified:
    """Read every file of a database's ledger.

    With a loader each batch is also loaded into a scratch table and compared with the server's own
    output.
    """
    batches = ledger.all_batches(session)
    faults = [Fault("sereno.archive_batch", what) for what in ledger.untrusted_batches(session)]
    for path in sorted({batch.path for batch in batches}):
        here = [batch for batch in batches if batch.path == path]
        faults += [Fault(path, what) for what in _file(path, here, progress, loader)]
    faults += [Fault(path, "not in the ledger") for path in _files_not_in_ledger(batches)]
    faults += _stranded(session)
    size = sum(batch.entry.frame.length for batch in batches)
    rows = sum(batch.entry.frame.rows for batch in batches)
    return Verified(len({batch.path for batch in batches}), len(batches), rows, size, faults)


def _stranded(session: Session) -> list[Fault]:
    if not is_installed_table(session, detach.TABLE):
        return []
    unfinished = detach.all_unfinished_detaches(session)
    return [Fault(name, STRANDED.format(since)) for name, since in unfinished]


def _file(
    path: str, batches: Sequence[LedgeredBatch], progress: Progress, loader: Loader | None
) -> Iterator[str]:
    pure = PurePosixPath(path)
    with ExitStack() as stack:
        try:
            with open_folder(str(pure.parent)) as folder:
                descriptor = open_regular(folder, pure.name)
                stack.callback(os.close, descriptor)
                manifest = read_manifest(folder, pure.name.removesuffix(SUFFIX))
        except OSError as error:
            yield error.strerror or str(error)
            return
        yield from _manifest_faults(manifest, batches)
        for batch in batches:
            progress(batch)
            try:
                digest = hashlib.sha256()
                for piece in read_lines(descriptor, batch.entry.frame):
                    digest.update(piece)
                if loader is not None:
                    yield from _loaded(loader, descriptor, batch, digest.hexdigest())
            except DamagedError as error:
                yield f"batch {batch.entry.batch}: {error}"
        behind = os.fstat(descriptor).st_size - max(
            b.entry.frame.position + b.entry.frame.length for b in batches
        )
        if behind > 0 and _quiet(str(pure.parent)):
            yield BEHIND.format(behind)


def _manifest_faults(manifest: Manifest | None, batches: Sequence[LedgeredBatch]) -> Iterator[str]:
    """Yield how a manifest contradicts the ledger; lines that a crash left out are no fault."""
    if manifest is None:
        yield "its manifest is missing or unreadable"
        return
    table = Relation(manifest.writer.schema, manifest.writer.table)
    if any(batch.table != table for batch in batches):
        yield f"its manifest names another table: {table}"
    if any(batch.columns != manifest.columns for batch in batches):
        yield "its manifest names other columns than the ledger"
    known = {batch.entry.batch: batch.entry.frame for batch in batches}
    listed = {entry.batch: entry.frame for entry in manifest.entries}
    unknown = len(listed.keys() - known.keys())
    if unknown:
        yield f"its manifest lists {unknown} batches that the ledger does not know"
    if any(listed[batch] != known[batch] for batch in listed.keys() & known.keys()):
        yield "its manifest and the ledger differ in the position or digest of a batch"


def _quiet(folder: str) -> bool:
    """Return whether no process is writing to a folder of the archive."""
    with open_folder(folder) as descriptor:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _loaded(loader: Loader, descriptor: int, batch: LedgeredBatch, digest: str) -> Iterator[str]:
    """Load a batch into a scratch table; yield how the server's output differs."""
    session = loader(batch.table)
    if isinstance(session, str):
        yield f"batch {batch.entry.batch}: not loaded, {session}"
        return
    names = [name for name, _ in batch.columns]
    now = ledger.columns(session, batch.table, names)
    if now != batch.columns:
        difference = _difference(batch.columns, now)
        yield f"batch {batch.entry.batch}: not loaded, its columns have changed: {difference}"
        return
    again = hashlib.sha256()
    with session.transaction():
        scratch_table.load(session, batch, read_lines(descriptor, batch.entry.frame))
        session.copy_out(_OUT, again.update)
    if again.hexdigest() != digest:
        yield f"batch {batch.entry.batch}: the server's output differs from the file"


def _difference(before: Sequence[tuple[str, str]], now: Sequence[tuple[str, str]]) -> str:
    changed = [f"{name} {kind}" for name, kind in before if (name, kind) not in now]
    if changed:
        return f"was {', '.join(changed)}"
    return "column order changed"


def _files_not_in_ledger(batches: Sequence[LedgeredBatch]) -> Iterator[str]:
    """Yield the files in the ledgered folders that the ledger does not name."""
    known = {batch.path for batch in batches}
    for folder in sorted({str(PurePosixPath(path).parent) for path in known}):
        try:
            with open_folder(folder) as descriptor:
                names = sorted(_written(descriptor))
        except OSError:
            continue
        yield from (f"{folder}/{name}" for name in names if f"{folder}/{name}" not in known)


def _written(folder: int) -> Iterator[str]:
    """Yield the non-empty archive files of a folder."""
    for name in os.listdir(folder):
        if name.endswith(SUFFIX) and os.stat(name, dir_fd=folder, follow_symlinks=False).st_size:
            yield name
