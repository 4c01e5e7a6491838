"""A step that is not done, and stands in the plan with its reason, so that nobody misses it."""

from dataclasses import dataclass

from execution.control import Pace
from execution.step import Outcome, Status
from postgres.session import Session


@dataclass(frozen=True, slots=True)
class Refusal:
    """What was asked for, and why it is not done."""

    name: str
    object: str
    why: str
    unseen: bool = False
    """We are blind there, which is told; else it is refused, and that is a failure."""
    lock: str = ""
    predicted_seconds: float = 0.0
    limit_seconds: float = 60.0
    alone: bool = False

    def statement(self) -> str:
        """Nothing is run."""
        return f"-- {'skipped' if self.unseen else 'refused'}: {self.why}"

    def apply(self, _session: Session | None, _pace: Pace) -> Outcome:
        """Do nothing."""
        return Outcome(Status.SKIPPED, self.why) if self.unseen else Outcome(Status.FAILED, f"refused: {self.why}")
