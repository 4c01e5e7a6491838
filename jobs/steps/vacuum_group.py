"""Many small tables vacuumed by one command; the server runs each in a transaction of its own.

Before server 16 each VACUUM command ends with a scan of every table's age in pg_class: one command
per table takes quadratic time.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import psycopg
from psycopg import sql

from execution.control import StepControl
from execution.step import DatabaseStep, Outcome, Status, Step
from jobs.steps.postconditions import Vacuumed
from jobs.steps.statement import Statement
from postgres.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class VacuumGroup(DatabaseStep):
    """One `command` that does the work of all `members`; the postcondition covers all of them."""

    members: tuple[Statement, ...]
    command: sql.Composed
    postcondition: Vacuumed

    @classmethod
    def of(
        cls, members: Sequence[Statement], command: sql.Composed, postcondition: Vacuumed
    ) -> Self:
        """Return a group of statements that have the same options.

        It may overrun only if all of them may.
        """
        first = members[0]
        return cls(
            name=first.name,
            object=f"{first.object} and {len(members) - 1} more",
            why=f"{len(members)} small tables in one command; the first: {first.why}",
            lock=first.lock,
            predicted_seconds=sum(member.predicted_seconds for member in members),
            urgent=first.urgent,
            overrun=all(member.overrun for member in members),
            has_history=all(member.has_history for member in members),
            members=tuple(members),
            command=command,
            postcondition=postcondition,
        )

    def statement(self) -> str:
        """Return the command as text."""
        return self.command.as_string(None)

    def parts(self) -> Sequence[Step]:
        """Return the statements of the single tables."""
        return self.members

    def apply(self, session: Session, control: StepControl) -> Outcome:
        """Run the command; tables that it did not reach (lock, error, end of the window) remain."""
        before = self.postcondition.look(session)
        session.set_cost(gentle=not self.urgent and control.gentle(self.members[0].speed))
        session.set_timeouts(control.remaining_seconds())
        control.cancellable = not self.urgent
        # each remaining table is run alone to find the one that fails
        with contextlib.suppress(psycopg.Error):
            session.execute(self.command)
        control.cancellable, control.yielded_to = False, ""
        reached = self.postcondition.reached(session, before)
        results, remaining = [], []
        for member, due in zip(self.members, self.postcondition.tables, strict=True):
            if due.oid in reached:
                results.append((member, reached[due.oid].outcome(member.bytes)))
            else:
                remaining.append(member)
        return Outcome(Status.DONE, results=tuple(results), remaining=tuple(remaining))
