"""A step of one statement outside any transaction, with the look afterwards that tells whether it worked."""

from collections.abc import Callable
from dataclasses import dataclass, field

from psycopg import sql

from execution.control import RETRYABLE, Pace, Speed
from execution.step import Evidence, Outcome, Status
from jobs.steps.postconditions import Postcondition
from postgres.session import Session


@dataclass(frozen=True, slots=True)
class Statement:
    """ANALYZE, VACUUM, REINDEX …: the server only warns when it may not, so what it did is looked up, not believed."""

    name: str
    object: str
    why: str
    lock: str
    command: sql.Composed
    worked: Postcondition
    urgent: bool = False
    """Anti-wraparound work goes at full speed, and gives way to nobody."""
    overrun: bool = False
    """Whether it may be begun though it would not be done when the window ends."""
    refused: str = ""
    """Why it is not even tried: the catalog says that the right is missing."""
    in_vain: Callable[[Session], str] | None = None
    """Asked right before, where the plan has doubts: why it would be in vain, or nothing."""
    speed: Speed | None = None
    """Its own; else that of the terms."""
    bytes: int = 0
    predicted_seconds: float = 0.0
    sure: bool = True
    """Whether the prediction is from the object's own history; a guess keeps nothing from a try."""
    limit_seconds: float = 12 * 3600.0
    alone: bool = False
    evidence: Evidence = field(default_factory=dict)

    def statement(self) -> str:
        """Return the command as text; of one that is not tried, why."""
        return f"-- skipped: {self.refused}" if self.refused else self.command.as_string(None)

    def apply(self, session: Session | None, pace: Pace) -> Outcome:
        """Run it under `statement_timeout` = what is left; then look."""
        assert session is not None  # noqa: S101 - the executor of a database job has one
        if self.refused:
            return Outcome(Status.SKIPPED, self.refused)
        if self.in_vain and (vain := self.in_vain(session)):
            return Outcome(Status.INEFFECTIVE, vain)
        before = self.worked.look(session)
        session.go(gentle=not self.urgent and pace.gentle(self.speed))

        def piece() -> None:
            session.allow(pace.remaining_seconds())
            pace.yields = not self.urgent
            try:
                session.execute(self.command)
            except RETRYABLE:
                if not self.worked.begun(session, before):
                    raise
            finally:
                pace.yields = False

        pace.attempt(piece)
        effect = self.worked.effect(session, before)
        status = Status.INEFFECTIVE if effect.in_vain else Status.DONE
        evidence = {**self.evidence, **effect.evidence}
        return Outcome(status, effect.in_vain or effect.left, effect.rows, self.bytes, evidence=evidence)
