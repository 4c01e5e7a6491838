"""A `.notx.sql` file: each statement by itself, recorded before and after.

A statement that can run in a transaction does, together with its row of the ledger. One that cannot
is looked for in the catalog: a server goes on with CREATE INDEX CONCURRENTLY after its client died.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from domain.cause import Cause
from execution.control import StepControl
from migrations import ledger
from migrations.format import SqlFile
from migrations.ledger import Written
from migrations.state import StepRow
from migrations.statement_locks import SHARE_UPDATE_EXCLUSIVE
from migrations.statements import Statement
from migrations.steps.lock_tables import LockAttempts, Take, locks_of
from migrations.steps.migration_step import MigrationError, MigrationStep
from postgres.fencing.advisory_locks import changes_lock
from postgres.identifiers import Relation, quote_identifier
from postgres.session import Session
from retention.rows.tamper_check import changed_settings, read_settings

OLD_SNAPSHOT_SECONDS = 5.0

_INDEX = sql.SQL(
    """
    SELECT i.indisvalid AS valid, n.nspname::text AS schema, c.relname::text AS name
    FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = to_regclass(%s)
    """
)
_DETACHED = sql.SQL(
    "SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_inherits WHERE inhrelid = to_regclass(%s)) AS out"
)
_OLD = sql.SQL(
    """
    SELECT pid, coalesce(nullif(application_name, ''), 'no name') AS who,
           extract(epoch FROM clock_timestamp() - xact_start)::float8 AS seconds
    FROM pg_catalog.pg_stat_activity
    WHERE backend_xmin IS NOT NULL AND pid <> %(own)s AND backend_type = 'client backend'
      AND xact_start < clock_timestamp() - make_interval(secs => %(seconds)s)
    ORDER BY xact_start LIMIT 3
    """
)
_WATCHED = sql.SQL("SET statement_timeout = {}; SET lock_timeout = 0")
_DROP = sql.SQL("DROP INDEX CONCURRENTLY {}")
_FINALIZE = sql.SQL("ALTER TABLE {} DETACH PARTITION {} FINALIZE")
_PENDING = sql.SQL(
    """
    SELECT n.nspname::text AS schema, p.relname::text AS name,
           o.nspname::text AS own_schema, c.relname::text AS own_name
    FROM pg_catalog.pg_inherits i
    JOIN pg_catalog.pg_class p ON p.oid = i.inhparent
    JOIN pg_catalog.pg_namespace n ON n.oid = p.relnamespace
    JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
    JOIN pg_catalog.pg_namespace o ON o.oid = c.relnamespace
    WHERE i.inhrelid = to_regclass(%s) AND i.inhdetachpending
    """
)
_GENTLE = frozenset({"alter_table_stmt", "create_stats_stmt"})
"""Kinds whose locks are all in their tree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatements(MigrationStep):
    """Run the statements of a file one by one."""

    file: SqlFile
    ran: set[int] = field(default_factory=set)
    """The statements that are done."""
    begun: set[int] = field(default_factory=set)
    """Those that were begun and not ended."""
    budget_seconds: float = 600.0
    records: bool = True
    """Whether the statements are recorded; those of a rollback are not."""
    name: str = "apply"

    def statement(self) -> str:
        """Return the statements."""
        return ";\n".join(one.text for one in self.file.statements) + ";"

    def work(self, session: Session, control: StepControl) -> int:
        """Run the statements that are not done; the file is done with its last."""
        statements = self.file.statements
        if self.records:  # a step that gave way is begun again
            self._read_ledger(session)
        with changes_lock(session):
            for number, statement in enumerate(statements, 1):
                if number not in self.ran:
                    self._run(session, control, number, statement)
                    self.ran.add(number)
                control.advance(number, len(statements))
        if self.records:
            ledger.add_step(session, self.ref, self._row(0, "done"))
        return 0

    def _read_ledger(self, session: Session) -> None:
        """Read which statements earlier tries have done, or begun."""
        for row in ledger.steps(session, self.ref.user, self.ref.migration):
            if row.file == self.file.name and row.statement:
                if row.state == "done":
                    self.ran.add(row.statement)
                elif row.state == "begun":
                    self.begun.add(row.statement)

    def _run(
        self, session: Session, control: StepControl, number: int, statement: Statement
    ) -> None:
        if statement.outside:
            self._outside(session, control, number, statement)
            return
        # nobody queues behind SHARE UPDATE EXCLUSIVE but maintenance and changes like this one
        is_gentle = statement.kind in _GENTLE and statement.mode == SHARE_UPDATE_EXCLUSIVE
        locks = [] if is_gentle else locks_of([statement])
        tries = LockAttempts(self, session, control, self.budget_seconds, locks)
        control.cancellable = is_gentle
        try:
            tries.run(
                lambda take: self._inside(session, control, (number, statement), (take, tries))
            )
        finally:
            control.cancellable = False

    def _inside(
        self,
        session: Session,
        control: StepControl,
        numbered: tuple[int, Statement],
        locking: tuple[Take, LockAttempts],
    ) -> None:
        """Run one statement in a transaction with its row of the ledger."""
        number, statement = numbered
        take, tries = locking

        def work() -> None:
            take()
            self.set_timeouts(session, control, 0 if control.cancellable else tries.rest())
            session.execute(statement.text.encode())
            self.observe(session, self.file.name, number)

        def record() -> Written:
            if not self.records:
                return set()
            return ledger.add_step(session, self.ref, self._row(number, "done"))

        self.in_transaction(session, control, work, record)

    def _outside(
        self, session: Session, control: StepControl, number: int, statement: Statement
    ) -> None:
        """Detect, act, detect: only an invalid index that we began is dropped."""
        ours = number in self.begun
        if ours and self._has_ended(session, control, statement):
            self._note(session, number, "done")
            return
        if statement.outside == "create":
            self._require_no_invalid(session, control, statement, ours=ours)
        self._name_snapshots(session, control)
        self._note(session, number, "begun")
        self.begun.add(number)
        heights, settings = ledger.heights(session), self.own_settings(session)
        try:
            self._execute(session, control, statement)
        except psycopg.Error:
            self._clean_up(session, control, statement)
            raise
        if changed := changed_settings(settings, read_settings(session)):
            raise MigrationError(Cause.TAMPERED, f"code of the tables' owner changed {changed}")
        self.require_only(control, heights, set())
        self.observe(session, self.file.name, number)
        if statement.outside == "create" and not self._is_done(session, statement):
            name = Relation(*statement.names[0])
            raise MigrationError(Cause.ERROR, f"{name} is not valid after it was built")
        self._note(session, number, "done")

    def _has_ended(self, session: Session, control: StepControl, statement: Statement) -> bool:
        """Return whether a statement that was begun is done now; end a detach halfway."""
        if self._is_done(session, statement):
            return True
        return statement.outside == "detach" and self._finalize(session, control, statement)

    def _execute(self, session: Session, control: StepControl, statement: Statement) -> None:
        """Execute one statement outside of a transaction, watched instead of bounded by a lock."""
        control.cancellable = True
        try:
            with self._watched(session, control):
                session.execute(statement.text.encode())
        finally:
            control.cancellable = False

    @contextlib.contextmanager
    def _watched(self, session: Session, control: StepControl) -> Iterator[None]:
        """Be the owner outside of a transaction, without a limit for locks."""
        limit = sql.Literal(max(1, int(control.remaining_seconds() * 1000)))
        with self.owner_session(session):
            session.execute(_WATCHED.format(limit))
            yield

    def _is_done(self, session: Session, statement: Statement) -> bool:
        found = [self._index(session, one) for one in statement.names]
        if statement.outside == "create":
            return bool(found[0] and found[0]["valid"])
        if statement.outside == "drop":
            return not any(found)
        if statement.outside == "detach":
            with self.reading_now(session):
                row = session.rows(_DETACHED, (_text(statement.names[0]),))[0]
            return bool(row["out"])
        return False

    def _index(self, session: Session, name: tuple[str, str]) -> Mapping[str, object] | None:
        with self.reading_now(session):
            rows = session.rows(_INDEX, (_text(name),))
        return rows[0] if rows else None

    def _finalize(self, session: Session, control: StepControl, statement: Statement) -> bool:
        """End a detach that was interrupted; return whether there was one."""
        with self.reading_now(session):
            rows = session.rows(_PENDING, (_text(statement.names[0]),))
        if not rows:
            return False
        parent = sql.Identifier(rows[0]["schema"], rows[0]["name"])
        partition = sql.Identifier(rows[0]["own_schema"], rows[0]["own_name"])
        with self._watched(session, control):
            session.execute(_FINALIZE.format(parent, partition))
        return True

    def _clean_up(self, session: Session, control: StepControl, statement: Statement) -> None:
        """Drop the index of a build that failed; if that fails too, the next try does it."""
        if statement.outside == "create" and not session.broken:
            with contextlib.suppress(psycopg.Error):
                self._drop_invalid(session, control, statement)

    def _require_no_invalid(
        self, session: Session, control: StepControl, statement: Statement, *, ours: bool
    ) -> None:
        """Drop the invalid index of an earlier try of ours; raise for one of another."""
        found = self._index(session, statement.names[0])
        if found is None or found["valid"]:
            return
        if not ours:
            name = Relation(str(found["schema"]), str(found["name"]))
            raise MigrationError(
                Cause.ERROR,
                f"{name} exists and is invalid, and this migration did not begin it; drop it with "
                f"DROP INDEX CONCURRENTLY {name}",
            )
        self._drop_invalid(session, control, statement)

    def _drop_invalid(self, session: Session, control: StepControl, statement: Statement) -> None:
        found = self._index(session, statement.names[0])
        if found is None or found["valid"]:
            return
        name = sql.Identifier(str(found["schema"]), str(found["name"]))
        with session.uncancellable(), self._watched(session, control):
            session.execute(_DROP.format(name))

    def _name_snapshots(self, session: Session, control: StepControl) -> None:
        """Show the sessions whose old snapshots the statement will wait for."""
        own = {"own": session.facts.pid, "seconds": OLD_SNAPSHOT_SECONDS}
        if rows := control.look(_OLD, own):
            control.pause(0.1, "; ".join(_snapshot(row) for row in rows))

    def _note(self, session: Session, number: int, state: str) -> None:
        if self.records:
            ledger.add_step(session, self.ref, self._row(number, state))

    def _row(self, number: int, state: str) -> StepRow:
        return StepRow(self.phase, self.file.name, self.file.checksum, number, state)


def _text(name: Sequence[str]) -> str:
    return ".".join('"' + part.replace('"', '""') + '"' for part in name if part)


def _snapshot(row: Mapping[str, object]) -> str:
    seconds = float(str(row["seconds"]))
    who = quote_identifier(str(row["who"]))
    return f"pid {row['pid']} ({who}) has a snapshot of {seconds:.0f} s, which is waited for"
