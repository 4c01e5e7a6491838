"""A planned step that is not carried out, listed with its reason."""

from dataclasses import dataclass

from domain.cause import Cause
from execution.control import StepControl
from execution.step import HostStep, Outcome, Status


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedStep(HostStep):
    """A wanted step and the reason for not carrying it out.

    A refusal (Cause.REFUSED) is a failure of the run; any other cause is recorded as skipped.
    """

    cause: Cause
    limit_seconds: float = 60.0

    def statement(self) -> str:
        """Return a comment: nothing runs."""
        verb = "skipped"
        if self.cause is Cause.REFUSED:
            verb = "refused"
        return f"-- {verb}: {self.why}"

    def apply(self, _control: StepControl) -> Outcome:
        """Return the outcome without doing anything."""
        if self.cause is Cause.REFUSED:
            return Outcome(Status.FAILED, f"refused: {self.why}", cause=self.cause)
        return Outcome(Status.SKIPPED, self.why, cause=self.cause)
