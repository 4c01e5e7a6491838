"""Expired rows move to a file: each batch is deleted, written, made durable, read back and ledgered in one transaction.

`COPY (DELETE … RETURNING …)` hands out exactly the rows that it deletes, in the versions that it deletes. A crash
before the commit leaves them in the table, and behind the last ledgered batch some bytes that the next run cuts off.
"""

import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

from psycopg import sql

from execution.control import Pace
from execution.step import Outcome, Status
from postgres.session import Session
from retention.archive import ledger
from retention.archive.archive_file import Shelf, Volume
from retention.archive.manifest import Entry
from retention.rows.dependents import Family
from retention.rows.row_batches import Batch, Expired, Walk

_COPY = sql.SQL("COPY ({delete} RETURNING {columns}) TO STDOUT (FORMAT text, ENCODING 'UTF8')")
KEPT = "a trigger or a concurrent change kept expired rows"


@dataclass(frozen=True, slots=True)
class ToFile:
    """Move the expired rows of one table to the file of a month (like 2026-11)."""

    expired: Expired
    shelf: Shelf
    month: str
    why: str
    family: Family | None = None
    """What leaves with them, if anything does."""
    shelves: tuple[Shelf, ...] = ()
    """Where its children go, in their order."""
    predicted_seconds: float = 0.0
    limit_seconds: float = 12 * 3600.0
    alone: bool = False
    name: str = "archive"
    lock: str = "ROW EXCLUSIVE"

    @property
    def object(self) -> str:
        """The table, as in psql."""
        return str(self.expired.table)

    def statement(self) -> str:
        """Return what one batch comes down to."""
        copy = _COPY.format(delete=self.expired.whole(), columns=_columns(self.shelf)).as_string(None)
        also = f", and what refers to them in {self._others()}" if self.shelves else ""
        return f"{copy}  -- in batches{also}"

    def apply(self, session: Session | None, pace: Pace) -> Outcome:
        """Move until none is left; look afterwards. OSError: the archive cannot be written to."""
        assert session is not None  # noqa: S101 - the executor of a database job has one
        with ExitStack() as stack:
            writers = [
                stack.enter_context(_writer(session, shelf, self.month)) for shelf in (*self.shelves, self.shelf)
            ]
            mover = _Mover(self.family, session, writers)
            walk = Walk(self.expired, session, pace)
            walk.all(mover.take, mover.done)
        if walk.left():
            return Outcome(Status.INEFFECTIVE, KEPT, rows=walk.taken, bytes=mover.bytes)
        reason = f"and {mover.others} rows of {self._others()}" if self.shelves else ""
        return Outcome(Status.DONE, reason, rows=walk.taken, bytes=mover.bytes)

    def _others(self) -> str:
        return ", ".join(str(child.table) for child in (self.family.children if self.family else ()))


def _columns(shelf: Shelf, *alias: str) -> sql.Composed:
    return sql.SQL(", ").join([sql.Identifier(*alias, name) for name, _ in shelf.columns])


class _Writer:
    """The file of one table, and what the transaction in progress has put there."""

    def __init__(self, session: Session, shelf: Shelf, volume: Volume) -> None:
        self._session, self._shelf, self._volume = session, shelf, volume
        self._entries: list[Entry] = []

    @property
    def frames(self) -> int:
        """How many the transaction in progress has put there."""
        return len(self._entries)

    def write(self, delete: sql.Composed, batch: Batch) -> int:
        """Delete rows into a frame, and ledger it; return how many."""
        self._volume.begin()
        self._entries = []
        copy = _COPY.format(delete=delete, columns=_columns(self._shelf, "t"))
        frame = self._volume.append(partial(self._session.copy_out, copy))
        if frame.rows:
            entry = Entry(str(uuid.uuid4()), frame, batch.first, batch.last)
            ledger.file(self._session, self._shelf, self._volume.name, entry)
            self._entries.append(entry)
        else:
            self._volume.begin()  # a trigger has kept them all
        return frame.rows

    def committed(self) -> int:
        """Write the manifest on; return how many bytes have come."""
        self._volume.committed(self._entries)
        length = sum(entry.frame.length for entry in self._entries)
        self._entries = []
        return length


@contextmanager
def _writer(session: Session, shelf: Shelf, month: str) -> Iterator[_Writer]:
    with shelf.volume(month, partial(ledger.filed, session, shelf, month)) as volume:
        yield _Writer(session, shelf, volume)


class _Mover:
    """Between the tables and their files, that of the children first."""

    def __init__(self, family: Family | None, session: Session, writers: list[_Writer]) -> None:
        self._family, self._session, self._writers = family, session, writers
        self._others = self.others = self.bytes = 0

    def take(self, batch: Batch) -> tuple[int, int]:
        """Take a batch, and first what refers to it; return how many rows, and how many frames all of it is."""
        self._others = 0
        *others, own = self._writers
        if self._family is not None and batch.places is not None:
            for child, writer in zip(self._family.children, others, strict=True):
                self._others += writer.write(self._family.delete(child, batch.places), batch)
        rows = own.write(batch.delete, batch)
        return rows, sum(writer.frames for writer in self._writers)

    def done(self) -> None:
        """What was taken is committed."""
        self.bytes += sum(writer.committed() for writer in self._writers)
        self.others += self._others
        self._others = 0
