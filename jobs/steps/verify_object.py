"""A step that verifies one table or index with amcheck."""

from dataclasses import dataclass

from psycopg import sql

from checks.corruption import Blocks, Provable, damage
from execution.control import StepControl
from execution.step import DatabaseStep, Outcome, Status
from postgres.session import Session

LIMIT_SECONDS = 4 * 3600.0
"""Its snapshot keeps VACUUM from removing dead rows meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyObject(DatabaseStep):
    """One call of amcheck; cancelled, and tried again later, when a session waits behind it."""

    proof: Provable
    blocks: Blocks
    question: sql.Composed
    all_rows: bool
    """Whether it looks up every row of the table in the B-tree: its duration depends on it."""
    damaged: bool = False
    """Whether the last look found damage."""
    name: str = "verify"
    lock: str = "ACCESS SHARE"
    limit_seconds: float = LIMIT_SECONDS

    def statement(self) -> str:
        """Return the statement."""
        return self.question.as_string(None).strip()

    def apply(self, session: Session, control: StepControl) -> Outcome:
        """Verify the object; a damaged one is found, and gets no proof."""

        def verify() -> Outcome:
            with session.transaction(read_only=True):
                session.set_timeouts(control.remaining_seconds())
                control.cancellable = True
                try:
                    found = tuple(damage(session, self.question, self.proof, self.object))
                finally:
                    control.cancellable = False
            evidence = {
                "kind": self.proof.kind,
                "filenode": self.proof.filenode,
                "damaged": bool(found),
                "all_rows": self.all_rows,
            }
            return Outcome(Status.DONE, rows=len(found), found=found, evidence=evidence)

        return control.attempt(verify)
