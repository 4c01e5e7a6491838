"""Expired rows move to another table of the same database: each batch in one statement, ledgered in its transaction."""

import uuid
from dataclasses import dataclass

from psycopg import sql

from execution.control import Pace
from execution.step import Outcome, Status
from postgres.identifiers import ColumnTypes, Relation
from postgres.session import Session
from retention.archive import ledger
from retention.archive.frame import DamagedError
from retention.archive.manifest import Writer
from retention.archive.to_file import KEPT
from retention.rows.row_batches import Batch, Expired, Walk

_MOVE = sql.SQL(
    "WITH gone AS ({delete} RETURNING {returned}), put AS (INSERT INTO {to} ({columns}) OVERRIDING SYSTEM VALUE"
    " SELECT {columns} FROM gone RETURNING 1)"
    " SELECT (SELECT count(*) FROM gone) AS gone, (SELECT count(*) FROM put) AS put"
)


@dataclass(frozen=True, slots=True)
class ToTable:
    """Move the expired rows of one table to another that has its columns."""

    expired: Expired
    to: Relation
    columns: ColumnTypes
    writer: Writer
    why: str
    predicted_seconds: float = 0.0
    limit_seconds: float = 12 * 3600.0
    alone: bool = False
    name: str = "archive"
    lock: str = "ROW EXCLUSIVE"

    @property
    def object(self) -> str:
        """The table that they leave, as in psql."""
        return str(self.expired.table)

    def statement(self) -> str:
        """Return what one batch comes down to."""
        return self._move(self.expired.whole(), self._names()).as_string(None) + "  -- in batches"

    def apply(self, session: Session | None, pace: Pace) -> Outcome:
        """Move until none is left; look afterwards. DamagedError: the other table did not take all of a batch."""
        assert session is not None  # noqa: S101 - the executor of a database job has one
        opened = session

        def take(batch: Batch) -> tuple[int, int]:
            moved = opened.rows(self._move(batch.delete, self._names("t")))[0]
            if moved["put"] != moved["gone"]:
                raise DamagedError(f"{self.to} took {moved['put']} of {moved['gone']} rows: a trigger of its own?")
            if moved["gone"]:
                written = ledger.Moved(str(uuid.uuid4()), self.to, moved["gone"], batch.first, batch.last)
                ledger.move(opened, self.writer, written, self.columns)
            return int(moved["gone"]), 1 if moved["gone"] else 0

        walk = Walk(self.expired, session, pace)
        walk.all(take)
        if walk.left():
            return Outcome(Status.INEFFECTIVE, KEPT, rows=walk.taken)
        return Outcome(Status.DONE, rows=walk.taken)

    def _move(self, delete: sql.Composed, returned: sql.Composed) -> sql.Composed:
        return _MOVE.format(delete=delete, returned=returned, to=self.to.identifier(), columns=self._names())

    def _names(self, *alias: str) -> sql.Composed:
        return sql.SQL(", ").join([sql.Identifier(*alias, name) for name, _ in self.columns])
