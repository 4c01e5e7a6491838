"""A partition whose rows have all expired is taken out of its table and dropped."""

from dataclasses import dataclass

from execution.control import Pace
from execution.step import Outcome, Owned, Status
from postgres.session import Session
from retention.partitions import detach
from retention.partitions.detach import PartitionError
from retention.partitions.expired import Partition, young


@dataclass(frozen=True, slots=True)
class PartitionDrop(Owned):
    """Detach it, look again whether all has expired, drop it."""

    part: Partition
    instance: str
    why: str
    predicted_seconds: float = 0.0
    limit_seconds: float = 3600.0
    alone: bool = True
    name: str = "drop"
    lock: str = "SHARE UPDATE EXCLUSIVE; on the partition ACCESS EXCLUSIVE"

    @property
    def object(self) -> str:
        """The partition, as in psql."""
        return str(self.part.table)

    def statement(self) -> str:
        """Return what it comes down to."""
        return f"{detach.statements(self.part)}; DROP TABLE {self.part.table}"

    def apply(self, session: Session | None, pace: Pace) -> Outcome:
        """Do it. PartitionError: it has got rows that have not expired."""
        assert session is not None  # noqa: S101 - the executor of a database job has one
        opened, part = session, self.part
        record = detach.detach(opened, pace, part, self.instance)
        if record is None:
            return Outcome(Status.DONE, "it is gone")

        def dropped() -> None:
            opened.allow(pace.remaining_seconds())
            with opened.transaction():
                detach.lock(opened, part, readers=False)
                if young(opened, part):
                    raise PartitionError(f"{part.table} has got rows that have not expired; it stays, detached")
                detach.drop(opened, part)
                detach.settle(opened, record)

        pace.attempt(dropped)
        return Outcome(Status.DONE, rows=part.rows, bytes=part.bytes)
