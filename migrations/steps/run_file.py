"""A file whose statements and ledger row are one transaction."""

import time
from dataclasses import dataclass

from psycopg import sql

from domain.cause import Cause
from execution.control import StepControl
from migrations import ledger
from migrations.format import Query, SqlFile
from migrations.ledger import Written
from migrations.state import StepRow
from migrations.statements import TableLock
from migrations.steps.check_phase import run_queries, sentence_of
from migrations.steps.lock_tables import LockAttempts, Take
from migrations.steps.migration_step import MigrationError, MigrationStep
from postgres.fencing.advisory_locks import changes_lock
from postgres.session import Session

_LOCK_TIMEOUT = sql.SQL("SET LOCAL lock_timeout = {}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFile(MigrationStep):
    """Run the statements of a file in one transaction, with the locks taken first."""

    file: SqlFile
    locks: tuple[TableLock, ...] = ()
    """The locks to take first: those seen in a rehearsal, or those of the statements."""
    budget_seconds: float = 600.0
    queries_before: tuple[Query, ...] = ()
    """Checks that run after the locks and before the statements."""
    queries_after: tuple[Query, ...] = ()
    """Checks that run before COMMIT."""
    name: str = "apply"

    def statement(self) -> str:
        """Return the statements."""
        return ";\n".join(one.text for one in self.file.statements) + ";"

    def work(self, session: Session, control: StepControl) -> int:
        """Try until the locks are had; then the statements run, and COMMIT."""
        with changes_lock(session):
            tries = LockAttempts(self, session, control, self.budget_seconds, self.locks)
            tries.run(lambda take: self._once(session, control, tries, take))
        return 0

    def _once(
        self, session: Session, control: StepControl, tries: LockAttempts, take: Take
    ) -> None:
        began = time.monotonic()

        def statements() -> None:
            take()
            self._require(session, self.queries_before)
            for number, statement in enumerate(self.file.statements, 1):
                session.execute(_LOCK_TIMEOUT.format(sql.Literal(tries.rest())))
                session.execute(statement.text.encode())
                self.observe(session, self.file.name, number)
                control.advance(number, len(self.file.statements))
            self._require(session, self.queries_after)

        def record() -> Written:
            row = StepRow(self.phase, self.file.name, self.file.checksum, 0, "done")
            milliseconds = int((time.monotonic() - began) * 1000)
            return ledger.add_step(
                session, self.ref, row, attempts=tries.attempts, milliseconds=milliseconds
            )

        self.in_transaction(session, control, statements, record)

    def _require(self, session: Session, queries: tuple[Query, ...]) -> None:
        """Raise MigrationError if a check finds violating rows inside the transaction."""
        if wrong := sentence_of(run_queries(session, queries, {}), queries):
            raise MigrationError(Cause.CHECK_FAILED, f"inside the transaction: {wrong}")
