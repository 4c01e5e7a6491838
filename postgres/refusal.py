"""A step that is refused before it begins: it stands in the plan and fails with its reason, so nobody misses it."""

from dataclasses import dataclass

from postgres.connection import Session
from postgres.pace import Pace
from postgres.step import Outcome, Status


@dataclass(frozen=True, slots=True)
class Refusal:
    """What was asked for, and why it is not done."""

    name: str
    object: str
    why: str
    lock: str = ""
    predicted_seconds: float = 0.0
    limit_seconds: float = 60.0
    alone: bool = False

    def statement(self) -> str:
        """Nothing is run."""
        return f"-- refused: {self.why}"

    def apply(self, _session: Session | None, _pace: Pace) -> Outcome:
        """Fail."""
        return Outcome(Status.FAILED, f"refused: {self.why}")
