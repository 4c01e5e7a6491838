"""Many small statements of one kind as one command: VACUUM takes a list of tables, each in its own transaction.

On servers before 16 this is no matter of round trips only: each VACUUM ends with a look at every table of the
database, so that one command a table takes quadratic time.
"""

import contextlib
from dataclasses import dataclass

import psycopg
from psycopg import sql

from execution.control import Pace
from execution.step import Outcome, Status
from jobs.steps.postconditions import Vacuumed
from jobs.steps.statement import Statement
from postgres.session import Session


@dataclass(frozen=True, slots=True)
class Group:
    """`command` does for all `members` what each of them would do for its one table; `worked` looks at all of them."""

    members: tuple[Statement, ...]
    command: sql.Composed
    worked: Vacuumed
    limit_seconds: float = 12 * 3600.0
    alone: bool = False

    @property
    def name(self) -> str:
        """The verb of the members."""
        return self.members[0].name

    @property
    def object(self) -> str:
        """The first of them, and how many more."""
        return f"{self.members[0].object} and {len(self.members) - 1} more"

    @property
    def why(self) -> str:
        """The reason of the first, which is the neediest."""
        return f"{len(self.members)} small tables in one command; the first: {self.members[0].why}"

    @property
    def lock(self) -> str:
        """The members' lock, on one table at a time; a table that is locked is left for later."""
        return self.members[0].lock

    @property
    def predicted_seconds(self) -> float:
        """The sum of the members'."""
        return sum(member.predicted_seconds for member in self.members)

    @property
    def urgent(self) -> bool:
        """All of one command are, or none."""
        return self.members[0].urgent

    @property
    def sure(self) -> bool:
        """Only if all predictions are."""
        return all(member.sure for member in self.members)

    @property
    def overrun(self) -> bool:
        """Only if all of them may."""
        return all(member.overrun for member in self.members)

    def statement(self) -> str:
        """Return the command as text."""
        return self.command.as_string(None)

    def apply(self, session: Session | None, pace: Pace) -> Outcome:
        """Run it; those that an error, a lock or the end of the time kept from their turn are the rest."""
        assert session is not None  # noqa: S101 - the executor of a database job has one
        before = self.worked.look(session)
        session.go(gentle=not self.urgent and pace.gentle(self.members[0].speed))
        session.allow(pace.remaining_seconds())
        pace.yields = not self.urgent
        with contextlib.suppress(psycopg.Error):  # what came of it is looked up; the rest meets its error on its own
            session.execute(self.command)
        pace.yields, pace.gave_way = False, ""
        reached = self.worked.reached(session, before)
        parts, rest = [], []
        for member, due in zip(self.members, self.worked.tables, strict=True):
            if due.oid not in reached:
                rest.append(member)
                continue
            effect = reached[due.oid]
            status = Status.INEFFECTIVE if effect.in_vain else Status.DONE
            reason = effect.in_vain or effect.left
            parts.append((member, Outcome(status, reason, effect.rows, member.bytes, evidence=effect.evidence)))
        return Outcome(Status.DONE, parts=tuple(parts), rest=tuple(rest))
