"""Deletion of expired rows."""

from dataclasses import dataclass

from execution.control import StepControl
from execution.step import DatabaseStep, Outcome, Status
from postgres.session import Session
from retention.rows.row_batches import Batch, ExpiredRows, RowWalk


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteRows(DatabaseStep):
    """Delete the expired rows of a table, batch by batch."""

    expired: ExpiredRows
    name: str = "delete"
    lock: str = "ROW EXCLUSIVE"

    def statement(self) -> str:
        """Return the statement of all batches together."""
        return self.expired.whole().as_string(None) + "  -- in batches"

    def apply(self, session: Session, control: StepControl) -> Outcome:
        """Delete batches until none is left, then verify."""

        def take(batch: Batch) -> tuple[int, int]:
            return session.execute(batch.delete), 0

        walk = RowWalk(self.expired, session, control)
        walk.all(take)
        if walk.left():
            return Outcome(
                Status.INEFFECTIVE,
                "a trigger or a concurrent change kept expired rows",
                rows=walk.taken,
            )
        return Outcome(Status.DONE, rows=walk.taken)
