"""The rollback of one phase: rows that the old shape cannot hold are kept in a table beside."""

from collections.abc import Mapping
from dataclasses import dataclass

from psycopg import sql

from domain.cause import Cause
from execution.control import StepControl
from execution.step import Outcome, Status
from migrations import ledger
from migrations.format import Kind, SqlFile
from migrations.ledger import Written
from migrations.state import State, StepRow
from migrations.statements import TableLock
from migrations.steps.lock_tables import LockAttempts, Take
from migrations.steps.migration_step import MigrationError, MigrationStep
from postgres.fencing.advisory_locks import changes_lock
from postgres.identifiers import LONGEST, Relation
from postgres.session import Session

ARCHIVE_PREFIX = "sereno_archive_"

_EXISTS = sql.SQL("SELECT to_regclass(%s) IS NOT NULL AS there")
_COPY = sql.SQL("CREATE TABLE {to} AS SELECT * FROM {table}")
_FREE = sql.SQL(
    "SELECT coalesce(max(substring(relname FROM '_([0-9]{1,9})$')::bigint), 0) AS taken "
    "FROM pg_catalog.pg_class WHERE relname ^@ %s"
)


def dropped_tables(file: SqlFile) -> set[tuple[str, str]]:
    """Return schema (may be empty) and name of the tables that a file drops. Pure."""
    return {one for statement in file.statements for one in statement.drops}


@dataclass(frozen=True, slots=True, kw_only=True)
class RollBackPhase(MigrationStep):
    """Undo a phase in one transaction, and record that its files are undone."""

    file: SqlFile | None
    """The rollback; None if its statements ran before, outside of a transaction."""
    undone: tuple[SqlFile, ...]
    archived: tuple[Relation, ...] = ()
    """The tables whose rows are kept, as far as the file drops them."""
    locks: tuple[TableLock, ...] = ()
    budget_seconds: float = 600.0
    failure: State = State.ROLLBACK_FAILED
    name: str = "roll back"

    def statement(self) -> str:
        """Return the statements."""
        if self.file is None:
            return "-- records that the phase is undone"
        return ";\n".join(one.text for one in self.file.statements) + ";"

    def work(self, session: Session, control: StepControl) -> Outcome:
        """Archive, run the statements and record, in one transaction; tell the rows archived."""
        kept: dict[Relation, tuple[Relation, int]] = {}
        with changes_lock(session):
            tries = LockAttempts(self, session, control, self.budget_seconds, self.locks)
            tries.run(lambda take: self._once(session, control, take, kept))
        rows = sum(count for _, count in kept.values())
        return Outcome(Status.DONE, _kept(kept), rows=rows)

    def _once(
        self,
        session: Session,
        control: StepControl,
        take: Take,
        kept: dict[Relation, tuple[Relation, int]],
    ) -> None:
        def work() -> None:
            take()
            kept.clear()
            present = self._present(session)
            kept.update(self._archive(session))
            for number, statement in enumerate(self.file.statements if self.file else (), 1):
                session.execute(statement.text.encode())
                self.observe(session, self.file.name if self.file else "", number)
            for table in sorted(set(present) - set(self._present(session)) - set(kept)):
                raise MigrationError(
                    Cause.ROLLBACK_FAILED,
                    f"{table} is gone and its rows were not archived: drop it by DROP TABLE",
                )

        self.in_transaction(session, control, work, lambda: self._undone(session, kept))

    def _present(self, session: Session) -> list[Relation]:
        """Return the tables of `archive` that exist."""
        return [one for one in self.archived if session.rows(_EXISTS, (str(one),))[0]["there"]]

    def _archive(self, session: Session) -> dict[Relation, tuple[Relation, int]]:
        """Copy the rows of the listed tables that the file drops; return where, and how many."""
        dropped = dropped_tables(self.file) if self.file else set()
        kept = {}
        for table in self._present(session):
            if not dropped & {(table.schema, table.name), ("", table.name)}:
                continue
            to = self._free_name(session, table)
            copied = session.execute(_COPY.format(to=to.identifier(), table=table.identifier()))
            kept[table] = (to, copied)
        return kept

    def _free_name(self, session: Session, table: Relation) -> Relation:
        """Return a new name like sereno_archive_0001_users_2."""
        prefix = f"{ARCHIVE_PREFIX}{self.ref.migration[:4]}_{table.name}"
        short = prefix.encode()[: LONGEST - 5].decode(errors="ignore")
        taken = session.rows(_FREE, (short,))[0]["taken"]
        return Relation(table.schema, f"{short}_{taken + 1}")

    def _undone(self, session: Session, kept: dict[Relation, tuple[Relation, int]]) -> Written:
        written: Written = set()
        for file in self.undone:
            numbers = range(len(file.statements) + 1) if file.kind is Kind.NOTX else (0,)
            for number in numbers:
                row = StepRow(self.phase, file.name, file.checksum, number, "undone")
                written |= ledger.add_step(session, self.ref, row)
            if file.kind is Kind.BATCH:
                written |= ledger.restart_batches(session, self.ref, file)
        for table, (to, rows) in kept.items():
            row = StepRow(self.phase, f"archive {table}", "", 0, "archived")
            written |= ledger.add_step(session, self.ref, row, rows=rows, reason=f"in {to}")
        state = State.ROLLING_BACK
        written |= ledger.add_state(session, self.ref, self.complete, state, _kept(kept))
        return written


def _kept(kept: Mapping[Relation, tuple[Relation, int]]) -> str:
    """Return in words how many rows were archived, and where."""
    return "; ".join(f"{rows:,} rows of {table} kept in {to}" for table, (to, rows) in kept.items())
