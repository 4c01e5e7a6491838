"""A step of one statement outside any transaction, verified by a postcondition."""

from collections.abc import Callable
from dataclasses import dataclass, field

from psycopg import sql

from domain.cause import Cause
from execution.control import RETRYABLE, Speed, StepControl
from execution.step import DatabaseStep, Evidence, Outcome, Status
from jobs.steps.postconditions import Postcondition
from postgres.session import Session


@dataclass(frozen=True, slots=True)
class Skip:
    """A step that is not tried: its cause and the reason in words."""

    cause: Cause
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement(DatabaseStep):
    """ANALYZE, VACUUM and the like.

    Without the right the server only warns, so the effect is verified.
    """

    command: sql.Composed
    postcondition: Postcondition
    skip: Skip | None = None
    """Set if the catalog shows already that the statement would be refused or pointless."""
    ineffective_reason: Callable[[Session], str] | None = None
    """Called right before the statement: returns why it would be ineffective, or nothing."""
    speed: Speed | None = None
    """The speed of this statement; by default that of the run."""
    bytes: int = 0
    evidence: Evidence = field(default_factory=dict)

    def statement(self) -> str:
        """Return the command as text, or a comment with the reason for skipping it."""
        if self.skip:
            return f"-- skipped: {self.skip.reason}"
        return self.command.as_string(None)

    def apply(self, session: Session, control: StepControl) -> Outcome:
        """Run the statement within the remaining time, then verify its effect."""
        if self.skip:
            return Outcome(Status.SKIPPED, self.skip.reason, cause=self.skip.cause)
        if self.ineffective_reason and (reason := self.ineffective_reason(session)):
            return Outcome(Status.INEFFECTIVE, reason)
        before = self.postcondition.look(session)
        session.set_cost(gentle=not self.urgent and control.gentle(self.speed))

        def run() -> None:
            session.set_timeouts(control.remaining_seconds())
            control.cancellable = not self.urgent
            try:
                session.execute(self.command)
            except RETRYABLE:
                if not self.postcondition.begun(session, before):
                    raise
            finally:
                control.cancellable = False

        control.attempt(run)
        return self.postcondition.effect(session, before).outcome(self.bytes, self.evidence)
