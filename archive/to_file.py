"""Expired rows move to a file: each batch is deleted, written, made durable, read back and ledgered in one transaction.

`COPY (DELETE … RETURNING …)` hands out exactly the rows that it deletes, in the versions that it deletes. A crash
before the commit leaves them in the table, and behind the last ledgered batch some bytes that the next run cuts off.
"""

import uuid
from dataclasses import dataclass
from functools import partial

from psycopg import sql

from archive import ledger
from archive.manifest import Entry
from archive.volume import Shelf, Volume
from postgres.batches import Batch, Expired, Walk
from postgres.connection import Session
from postgres.pace import Pace
from postgres.step import Outcome, Status

_COPY = sql.SQL("COPY ({delete} RETURNING {columns}) TO STDOUT (FORMAT text, ENCODING 'UTF8')")
KEPT = "a trigger or a concurrent change kept expired rows"


@dataclass(frozen=True, slots=True)
class ToFile:
    """Move the expired rows of one table to the file of a month (like 2026-11)."""

    expired: Expired
    shelf: Shelf
    month: str
    why: str
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
        return _COPY.format(delete=self.expired.whole(), columns=self._columns()).as_string(None) + "  -- in batches"

    def apply(self, session: Session | None, pace: Pace) -> Outcome:
        """Move until none is left; look afterwards. OSError: the archive cannot be written to."""
        assert session is not None  # noqa: S101 - the executor of a database job has one
        with self.shelf.volume(self.month, partial(ledger.filed, session, self.shelf, self.month)) as volume:
            mover = _Mover(self, session, volume)
            walk = Walk(self.expired, session, pace)
            walk.all(mover.take, mover.done)
        if walk.left():
            return Outcome(Status.INEFFECTIVE, KEPT, rows=walk.taken, bytes=mover.bytes)
        return Outcome(Status.DONE, rows=walk.taken, bytes=mover.bytes)

    def copy(self, batch: Batch) -> sql.Composed:
        """Return the statement of a batch."""
        return _COPY.format(delete=batch.delete, columns=self._columns("t"))

    def _columns(self, *alias: str) -> sql.Composed:
        return sql.SQL(", ").join([sql.Identifier(*alias, name) for name, _ in self.shelf.columns])


class _Mover:
    """Between the table and the file."""

    def __init__(self, step: ToFile, session: Session, volume: Volume) -> None:
        self._step, self._session, self._volume = step, session, volume
        self._entries: list[Entry] = []
        self.bytes = 0

    def take(self, batch: Batch) -> int:
        self._volume.begin()
        self._entries = []
        frame = self._volume.append(partial(self._session.copy_out, self._step.copy(batch)))
        if frame.rows:
            entry = Entry(str(uuid.uuid4()), frame, batch.first, batch.last)
            ledger.file(self._session, self._step.shelf, self._volume.name, entry)
            self._entries.append(entry)
        else:
            self._volume.begin()  # a trigger has kept them all
        return frame.rows

    def done(self) -> None:
        self._volume.committed(self._entries)
        self.bytes += sum(entry.frame.length for entry in self._entries)
        self._entries = []
