"""Expired rows are deleted."""

from dataclasses import dataclass

from execution.control import Pace
from execution.step import Outcome, Status
from postgres.session import Session
from retention.rows.row_batches import Batch, Expired, Walk


@dataclass(frozen=True, slots=True)
class Deletion:
    """Delete them, batch by batch."""

    expired: Expired
    why: str
    predicted_seconds: float = 0.0
    limit_seconds: float = 12 * 3600.0
    alone: bool = False
    name: str = "delete"
    lock: str = "ROW EXCLUSIVE"

    @property
    def object(self) -> str:
        """The table, as in psql."""
        return str(self.expired.table)

    def statement(self) -> str:
        """Return what one batch comes down to."""
        return self.expired.whole().as_string(None) + "  -- in batches"

    def apply(self, session: Session | None, pace: Pace) -> Outcome:
        """Delete until none is left; look afterwards."""
        assert session is not None  # noqa: S101 - the executor of a database job has one
        opened = session

        def take(batch: Batch) -> tuple[int, int]:
            return opened.execute(batch.delete), 0

        walk = Walk(self.expired, session, pace)
        walk.all(take)
        if walk.left():
            return Outcome(Status.INEFFECTIVE, "a trigger or a concurrent change kept expired rows", rows=walk.taken)
        return Outcome(Status.DONE, rows=walk.taken)
