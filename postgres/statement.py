"""A step of one statement outside any transaction, with the look afterwards that tells whether it worked."""

from dataclasses import dataclass, field

from psycopg import sql

from postgres.connection import Session
from postgres.pace import Pace
from postgres.step import Evidence, Outcome, Status
from postgres.verify import Postcondition


@dataclass(frozen=True, slots=True)
class Statement:
    """ANALYZE, VACUUM, REINDEX …: the server only warns when it may not, so what it did is looked up, not believed."""

    name: str
    object: str
    why: str
    lock: str
    command: sql.Composed
    worked: Postcondition
    refused: str = ""
    """Why it is not even tried: the catalog says that the right is missing."""
    bytes: int = 0
    predicted_seconds: float = 0.0
    limit_seconds: float = 12 * 3600.0
    alone: bool = False
    evidence: Evidence = field(default_factory=dict)

    def statement(self) -> str:
        """Return the command as text."""
        return self.command.as_string(None)

    def apply(self, session: Session | None, pace: Pace) -> Outcome:
        """Run it under `statement_timeout` = what is left; then look."""
        assert session is not None  # noqa: S101 - the executor of a database job has one
        if self.refused:
            return Outcome(Status.SKIPPED, self.refused)
        before = self.worked.look(session)

        def piece() -> None:
            session.allow(pace.remaining_seconds())
            session.execute(self.command)

        pace.attempt(piece)
        why_not, rows = self.worked.why_not(session, before)
        if why_not:
            return Outcome(Status.INEFFECTIVE, why_not, rows=rows)
        return Outcome(Status.DONE, rows=rows, bytes=self.bytes, evidence=self.evidence)
