"""Archiving of expired rows to another table: one statement per batch, ledgered with it."""

import uuid
from dataclasses import dataclass

from psycopg import sql

from execution.control import StepControl
from execution.step import DatabaseStep, Outcome, Status
from postgres.identifiers import ColumnTypes, Relation
from postgres.session import Session
from retention.archive import ledger
from retention.archive.frame import DamagedError
from retention.archive.manifest import Writer
from retention.archive.to_file import KEPT
from retention.rows.row_batches import Batch, ExpiredRows, RowWalk

_MOVE = sql.SQL(
    "WITH gone AS ({delete} RETURNING {returned}), put AS (INSERT INTO {to} ({columns}) "
    "OVERRIDING SYSTEM VALUE"
    " SELECT {columns} FROM gone RETURNING 1)"
    " SELECT (SELECT count(*) FROM gone) AS gone, (SELECT count(*) FROM put) AS put"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveToTable(DatabaseStep):
    """Move the expired rows of one table to another with the same columns."""

    expired: ExpiredRows
    to: Relation
    columns: ColumnTypes
    writer: Writer
    name: str = "archive"
    lock: str = "ROW EXCLUSIVE"

    def statement(self) -> str:
        """Return the statement of one batch."""
        return self._move(self.expired.whole(), self._names()).as_string(None) + "  -- in batches"

    def apply(self, session: Session, control: StepControl) -> Outcome:
        """Move batches until none is left, then verify.

        Raises DamagedError if the other table did not take every row of a batch.
        """

        def take(batch: Batch) -> tuple[int, int]:
            moved = session.rows(self._move(batch.delete, self._names("t")))[0]
            if moved["put"] != moved["gone"]:
                raise DamagedError(
                    f"{self.to} took {moved['put']} of {moved['gone']} rows; does it have a "
                    "trigger?"
                )
            if moved["gone"]:
                written = ledger.MovedBatch(
                    str(uuid.uuid4()), self.to, moved["gone"], batch.first, batch.last
                )
                ledger.record_move(session, self.writer, written, self.columns)
            return int(moved["gone"]), 1 if moved["gone"] else 0

        walk = RowWalk(self.expired, session, control)
        walk.all(take)
        if walk.left():
            return Outcome(Status.INEFFECTIVE, KEPT, rows=walk.taken)
        return Outcome(Status.DONE, rows=walk.taken)

    def _move(self, delete: sql.Composed, returned: sql.Composed) -> sql.Composed:
        return _MOVE.format(
            delete=delete, returned=returned, to=self.to.identifier(), columns=self._names()
        )

    def _names(self, *alias: str) -> sql.Composed:
        return sql.SQL(", ").join([sql.Identifier(*alias, name) for name, _ in self.columns])
