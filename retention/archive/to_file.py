"""Archiving of expired rows to files.

Each batch is deleted, written, synced, read back and ledgered. `COPY (DELETE ... RETURNING ...)`
returns exactly the rows it deletes. One transaction holds it all: after a crash before the commit
the rows are still in the table, and the next run cuts off the bytes behind the last ledgered batch.
"""

import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

from psycopg import sql

from execution.control import StepControl
from execution.step import DatabaseStep, Outcome, Status
from postgres.session import Session
from retention.archive import ledger
from retention.archive.archive_file import ArchiveFile, TableArchive
from retention.archive.manifest import Entry
from retention.rows.dependents import Dependents
from retention.rows.row_batches import Batch, ExpiredRows, RowWalk

_COPY = sql.SQL("COPY ({delete} RETURNING {columns}) TO STDOUT (FORMAT text, ENCODING 'UTF8')")
KEPT = "a trigger or a concurrent change kept expired rows"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveToFile(DatabaseStep):
    """Move the expired rows of one table to the file of a month (such as 2026-11)."""

    expired: ExpiredRows
    archive: TableArchive
    month: str
    dependents: Dependents | None = None
    """The tables whose rows leave with them."""
    child_archives: tuple[TableArchive, ...] = ()
    """The archives of the dependent tables, in their order."""
    name: str = "archive"
    lock: str = "ROW EXCLUSIVE"

    def statement(self) -> str:
        """Return the statement of one batch."""
        copy = _COPY.format(delete=self.expired.whole(), columns=_columns(self.archive)).as_string(
            None
        )
        also = ""
        if self.child_archives:
            also = f", with dependent rows of {self._others()}"
        return f"{copy}  -- in batches{also}"

    def apply(self, session: Session, control: StepControl) -> Outcome:
        """Move batches until none is left, then verify.

        Raises OSError if the archive is not writable.
        """
        with ExitStack() as stack:
            writers = [
                stack.enter_context(_writer(session, archive, self.month))
                for archive in (*self.child_archives, self.archive)
            ]
            mover = _Mover(self.dependents, session, writers)
            walk = RowWalk(self.expired, session, control)
            walk.all(mover.take, mover.done)
        if walk.left():
            return Outcome(Status.INEFFECTIVE, KEPT, rows=walk.taken, bytes=mover.bytes)
        reason = ""
        if self.child_archives:
            reason = f"and {mover.others} rows of {self._others()}"
        return Outcome(Status.DONE, reason, rows=walk.taken, bytes=mover.bytes)

    def _others(self) -> str:
        return ", ".join(
            str(child.table) for child in (self.dependents.children if self.dependents else ())
        )


def _columns(archive: TableArchive, *alias: str) -> sql.Composed:
    return sql.SQL(", ").join([sql.Identifier(*alias, name) for name, _ in archive.columns])


class _Writer:
    """The file of one table and the entries of the current transaction."""

    def __init__(self, session: Session, archive: TableArchive, file: ArchiveFile) -> None:
        self._session, self._archive, self._file = session, archive, file
        self._entries: list[Entry] = []

    @property
    def frames(self) -> int:
        """Return the number of frames in the current transaction."""
        return len(self._entries)

    def write(self, delete: sql.Composed, batch: Batch) -> int:
        """Delete rows into a frame and ledger it; return their number."""
        self._file.begin()
        self._entries = []
        copy = _COPY.format(delete=delete, columns=_columns(self._archive, "t"))
        frame = self._file.append(partial(self._session.copy_out, copy))
        if frame.rows:
            entry = Entry(str(uuid.uuid4()), frame, batch.first, batch.last)
            ledger.record_batch(self._session, self._archive, self._file.name, entry)
            self._entries.append(entry)
        else:
            self._file.begin()  # a trigger kept every row
        return frame.rows

    def committed(self) -> int:
        """Append to the manifest after the commit; return the bytes added."""
        self._file.committed(self._entries)
        length = sum(entry.frame.length for entry in self._entries)
        self._entries = []
        return length


@contextmanager
def _writer(session: Session, archive: TableArchive, month: str) -> Iterator[_Writer]:
    with archive.open_file(month, partial(ledger.batches_by_file, session, archive, month)) as file:
        yield _Writer(session, archive, file)


class _Mover:
    """Moves batches from tables to their files, children first."""

    def __init__(self, family: Dependents | None, session: Session, writers: list[_Writer]) -> None:
        self._family, self._session, self._writers = family, session, writers
        self._others = self.others = self.bytes = 0

    def take(self, batch: Batch) -> tuple[int, int]:
        """Move a batch and the rows that refer to it; return the rows, and the frames written."""
        self._others = 0
        *others, own = self._writers
        if self._family is not None and batch.places is not None:
            for child, writer in zip(self._family.children, others, strict=True):
                self._others += writer.write(self._family.delete(child, batch.places), batch)
        rows = own.write(batch.delete, batch)
        return rows, sum(writer.frames for writer in self._writers)

    def done(self) -> None:
        """Record that the batch has been committed."""
        self.bytes += sum(writer.committed() for writer in self._writers)
        self.others += self._others
        self._others = 0
