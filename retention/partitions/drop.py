"""Detaching and dropping of a partition whose rows have all expired."""

from dataclasses import dataclass

from execution.control import StepControl
from execution.step import DatabaseStep, Outcome, Status
from postgres.session import Session
from retention.partitions import detach
from retention.partitions.detach import PartitionError
from retention.partitions.expired import Partition, has_unexpired_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class DropPartition(DatabaseStep):
    """Detach a partition, check again that all its rows have expired, drop it."""

    part: Partition
    instance: str
    limit_seconds: float = 3600.0
    alone: bool = True
    name: str = "drop"
    lock: str = "SHARE UPDATE EXCLUSIVE; on the partition ACCESS EXCLUSIVE"

    def statement(self) -> str:
        """Return the statements for people to read."""
        return f"{detach.describe_detach(self.part)}; DROP TABLE {self.part.table}"

    def apply(self, session: Session, control: StepControl) -> Outcome:
        """Run them. Raises PartitionError if it has rows that have not expired."""
        part = self.part
        record = detach.detach_partition(session, control, part, self.instance)
        if record is None:
            return Outcome(Status.DONE, "the partition is gone")

        def dropped() -> None:
            session.set_timeouts(control.remaining_seconds())
            with session.transaction():
                detach.lock_partition(session, part, readers=False)
                if has_unexpired_rows(session, part):
                    raise PartitionError(
                        f"{part.table} has received rows that have not expired; it stays, detached"
                    )
                detach.drop_partition(session, part)
                detach.record_settled(session, record)

        control.attempt(dropped)
        return Outcome(Status.DONE, rows=part.rows, bytes=part.bytes)
