"""Steps that verify tables and indexes with amcheck: a large one alone, small ones together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import psycopg
from psycopg import sql

from checks.corruption import Blocks, Provable, damage
from execution.control import StepControl
from execution.step import DatabaseStep, Evidence, Outcome, Status, Step
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
            evidence = self.evidence(damaged=bool(found))
            return Outcome(Status.DONE, rows=len(found), found=found, evidence=evidence)

        return control.attempt(verify)

    def evidence(self, *, damaged: bool) -> Evidence:
        """Return the evidence about the object for the next plan."""
        return {
            "kind": self.proof.kind,
            "filenode": self.proof.filenode,
            "damaged": damaged,
            "all_rows": self.all_rows,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyGroup(DatabaseStep):
    """Small objects of one kind, verified by one statement.

    If it finds anything, or is cancelled, each object is verified alone.
    """

    members: tuple[VerifyObject, ...]
    name: str = "verify"
    lock: str = "ACCESS SHARE"
    limit_seconds: float = LIMIT_SECONDS

    @classmethod
    def of(cls, members: Sequence[VerifyObject]) -> Self:
        """Return a group of objects, all of them tables or none."""
        return cls(
            object=f"{members[0].object} and {len(members) - 1} more",
            why=f"{len(members)} small objects in one statement; the first: {members[0].why}",
            predicted_seconds=sum(one.predicted_seconds for one in members),
            has_history=all(one.has_history for one in members),
            members=tuple(members),
        )

    def statement(self) -> str:
        """Return the statement."""
        return self._question().as_string(None).strip()

    def parts(self) -> Sequence[Step]:
        """Return the steps of the single objects."""
        return self.members

    def _question(self) -> sql.Composed:
        union = sql.SQL("\nUNION ALL ")
        return union.join(sql.SQL("({})").format(one.question) for one in self.members)

    def apply(self, session: Session, control: StepControl) -> Outcome:
        """Verify all of them; the rows of a table are its damage, those of an index are not."""
        try:
            with session.transaction(read_only=True):
                session.set_timeouts(control.remaining_seconds())
                control.cancellable = True
                rows = session.rows(self._question(), keep=False)
        except psycopg.Error:
            return self._alone(control)
        finally:
            control.cancellable = False
        if rows and self.members[0].proof.kind == "heap":
            return self._alone(control)
        results = [
            (one, Outcome(Status.DONE, evidence=one.evidence(damaged=False)))
            for one in self.members
        ]
        return Outcome(Status.DONE, results=tuple(results))

    def _alone(self, control: StepControl) -> Outcome:
        control.yielded_to = ""
        return Outcome(Status.DONE, remaining=self.members)
