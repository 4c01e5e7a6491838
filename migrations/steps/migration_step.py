"""The base of the steps of a migration: one transaction as the owner, recorded and verified.

The triggers and functions of the owner run in our session and can do `SET ROLE none`. So settings
and ledger are compared before COMMIT, and once more after it from the session of `maintain`.
"""

import contextlib
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import errors, sql

from domain.cause import Cause
from execution.control import RETRYABLE, Halted, StepControl
from execution.errors import first_line, stop_reason
from execution.step import DatabaseStep, Outcome, Status
from migrations import ledger
from migrations.format import Phase
from migrations.ledger import RunRef, Written
from migrations.state import State
from postgres.session import MIGRATE, Login, Session
from postgres.session_settings import LOCK_TIMEOUT_MILLISECONDS, STATEMENT_MILLISECONDS
from retention.rows.tamper_check import (
    changed_settings,
    fire_deferred_triggers,
    ledger_heights,
    read_settings,
    rows_above,
    rows_above_query,
)

_OWNER = sql.SQL("SET LOCAL ROLE {}; SET LOCAL search_path = {}")
_LOGIN = sql.SQL("SET LOCAL ROLE none; SET LOCAL search_path = pg_catalog, pg_temp")
_SESSION_OWNER = sql.SQL("SET ROLE {}; SET search_path = {}")
_RESTORED = sql.SQL(
    "SET ROLE none; SET search_path = pg_catalog, pg_temp; SET lock_timeout = {}; "
    "SET statement_timeout = {}"
).format(sql.Literal(LOCK_TIMEOUT_MILLISECONDS), sql.Literal(STATEMENT_MILLISECONDS))
_TIMEOUTS = sql.SQL("SET LOCAL statement_timeout = {}; SET LOCAL lock_timeout = {}")

Observe = Callable[[Session, str, int], object]
"""Called after each statement, with the name of the file and the number of the statement."""


def unobserved(_session: Session, _file: str, _statement: int) -> None:
    """Observe nothing."""


class MigrationError(Exception):
    """A step failed; the message says why. Its transaction was rolled back."""

    def __init__(self, cause: Cause, sentence: str) -> None:
        self.cause = cause
        super().__init__(sentence)


class ForgedError(MigrationError):
    """Rows of the ledger that are not ours were committed."""

    def __init__(self, forged: Written) -> None:
        listed = ", ".join(f"sereno.{table} {ordinal}" for table, ordinal in sorted(forged))
        super().__init__(
            Cause.TAMPERED,
            f"code of the tables' owner wrote into the ledger: {listed[: ledger.LONGEST_REASON]}",
        )


def owner_path(session: Session) -> sql.Composed:
    """Return the schemas of unqualified names; pg_temp last, so that it hides none of them."""
    names = (*session.target.migrate_path, "pg_temp")
    return sql.SQL(", ").join(map(sql.Identifier, names))


def become_owner(session: Session, role: str) -> None:
    """Become a role until the end of the transaction, with the search_path of its files."""
    session.execute(_OWNER.format(_role(role), owner_path(session)))


def _role(role: str) -> sql.Composable:
    return sql.Identifier(role) if role else sql.SQL("none")


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationStep(DatabaseStep):
    """One step of a run of a migration."""

    ref: RunRef
    phase: Phase | None
    """The phase that it belongs to; None before the first."""
    complete: Phase | None
    """The last phase that is complete while it runs."""
    observe: Observe = unobserved
    logins: tuple[Login, ...] = (MIGRATE,)
    unpaused: bool = True
    limit_seconds: float = 20 * 86400.0
    """Below the largest statement_timeout, 2^31 ms."""
    failure: State = State.FAILED
    """The state of the migration after a failure of this step."""
    interrupted: State = State.PAUSED
    """The state after it was stopped."""

    @abstractmethod
    def work(self, session: Session, control: StepControl) -> int | Outcome:
        """Do the work; return the rows affected. Raises MigrationError and psycopg.Error."""

    def apply(self, session: Session, control: StepControl) -> Outcome:
        """Do the work and record how it failed."""
        try:
            did = self.work(session, control)
            return did if isinstance(did, Outcome) else Outcome(Status.DONE, rows=did)
        except Halted:
            self._record(session, self.interrupted, stop_reason(control))
            raise
        except MigrationError as error:
            return self._failed(session, error.cause, str(error))
        except errors.QueryCanceled as error:
            if control.interrupted:
                self._record(session, self.interrupted, "interrupted")
            if control.interrupted or control.yielded_to:
                raise
            return self._failed(session, Cause.ERROR, first_line(error))
        except RETRYABLE as error:
            return self._failed(session, Cause.LOCK_BUDGET, first_line(error))
        except psycopg.Error as error:
            if session.broken:
                raise
            return self._failed(session, Cause.ERROR, _sentence(error))

    def in_transaction(
        self,
        session: Session,
        control: StepControl,
        work: Callable[[], object],
        record: Callable[[], Written],
    ) -> None:
        """Run `work` as the owner and `record` as the login, in one transaction.

        Raises MigrationError if code of the owner changed the session or the ledger, ForgedError if
        it did so at COMMIT.
        """
        settings = self.own_settings(session)
        with session.transaction():
            heights = ledger_heights(session, ledger.TABLES)
            self.set_timeouts(session, control)
            self.become_owner(session)
            work()
            fire_deferred_triggers(session)
            session.execute(_LOGIN)
            self.require_unchanged(session, settings, heights)
            written = record()
        # what was set for the session, behind a SET LOCAL of ours, is seen only now
        left = changed_settings(settings, read_settings(session))
        session.execute(_RESTORED)
        self.require_only(control, heights, written)
        if left:
            raise MigrationError(
                Cause.TAMPERED, f"code of the tables' owner left {left} changed; it was committed"
            )

    def own_settings(self, session: Session) -> dict[str, object]:
        """Set the settings of our own statements, and return them to be compared."""
        session.execute(_RESTORED)
        return read_settings(session)

    def set_timeouts(
        self, session: Session, control: StepControl, lock_milliseconds: int = 300
    ) -> None:
        """Limit the statements of the transaction to the rest of the step."""
        limit = sql.Literal(max(1, int(control.remaining_seconds() * 1000)))
        session.execute(_TIMEOUTS.format(limit, sql.Literal(lock_milliseconds)))

    def become_owner(self, session: Session) -> None:
        """Become the owner until the end of the transaction."""
        become_owner(session, self.ref.role)

    @contextmanager
    def reading(self, session: Session, control: StepControl) -> Iterator[None]:
        """Be the owner in one read-only snapshot, rolled back: settings that change are undone."""
        with session.transaction(read_only=True, repeatable=True, undone=True):
            self.set_timeouts(session, control)
            self.become_owner(session)
            yield

    @contextmanager
    def reading_now(self, session: Session) -> Iterator[None]:
        """Be the owner for a look at the catalog; names are looked up as the owner sees them."""
        with session.transaction(undone=True):
            self.become_owner(session)
            yield

    @contextmanager
    def owner_session(self, session: Session) -> Iterator[None]:
        """Be the owner outside of a transaction, for the body."""
        session.execute(_SESSION_OWNER.format(_role(self.ref.role), owner_path(session)))
        try:
            yield
        finally:
            with contextlib.suppress(psycopg.OperationalError):
                session.execute(_RESTORED)

    def require_unchanged(
        self, session: Session, settings: dict[str, object], heights: Mapping[str, int]
    ) -> None:
        """Raise MigrationError if code of the owner changed settings, user or ledger.

        The transaction is rolled back then.
        """
        if changed := changed_settings(settings, read_settings(session)):
            raise MigrationError(
                Cause.TAMPERED, f"code of the tables' owner changed {changed} of sereno's session"
            )
        if forged := rows_above(session, heights):
            tables = ", ".join(sorted({f"sereno.{table}" for table, _ in forged}))
            raise MigrationError(
                Cause.TAMPERED, f"code of the tables' owner wrote into {tables}; rolled back"
            )

    def require_only(
        self, control: StepControl, heights: Mapping[str, int], written: Written
    ) -> None:
        """Raise ForgedError if the ledger has committed rows of ours that we did not write."""
        try:
            rows = control.look(rows_above_query(heights, self.ref.user), {})
        except psycopg.Error as error:
            raise MigrationError(
                Cause.UNREACHABLE, f"the ledger could not be read after COMMIT: {first_line(error)}"
            ) from None
        if forged := {(row["name"], int(row["ordinal"])) for row in rows} - written:
            raise ForgedError(forged)

    def _failed(self, session: Session, cause: Cause, sentence: str) -> Outcome:
        state = State.TAMPERED if cause is Cause.TAMPERED else self.failure
        if cause is Cause.ROLLBACK_FAILED:
            state = State.ROLLBACK_FAILED
        self._record(session, state, f"{self.name} {self.object}: {sentence}")
        return Outcome(Status.FAILED, sentence, cause=cause)

    def _record(self, session: Session, state: State, reason: str) -> None:
        """Record a state; a session that is lost leaves the state `running`."""
        with contextlib.suppress(psycopg.Error), session.uncancellable():
            session.execute(_RESTORED)
            ledger.add_state(session, self.ref, self.complete, state, reason)


def _sentence(error: psycopg.Error) -> str:
    """Return the server's sentence with its constraint; never its detail, which quotes rows."""
    parts = [first_line(error)]
    if error.sqlstate:
        parts.append(f"(SQLSTATE {error.sqlstate})")
    return " ".join(parts)
