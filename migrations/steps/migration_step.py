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
from retention.rows.tamper_check import (
    changed_settings,
    fire_deferred_triggers,
    ledger_heights,
    read_settings,
    rows_above,
    rows_above_query,
)

_ROLE = sql.SQL("SET LOCAL ROLE {}")
_SESSION_ROLE = sql.SQL("SET ROLE {}")
_NONE = sql.SQL("none")
_TIMEOUTS = sql.SQL("SET LOCAL statement_timeout = {}; SET LOCAL lock_timeout = {}")
MOST_NAMED = 10

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


def become_owner(session: Session, role: str) -> None:
    """Become a role until the end of the transaction; an empty one changes nothing."""
    if role:
        session.execute(_ROLE.format(sql.Identifier(role)))


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

    @abstractmethod
    def work(self, session: Session, control: StepControl) -> int | Outcome:
        """Do the work; return the rows affected. Raises MigrationError and psycopg.Error."""

    def apply(self, session: Session, control: StepControl) -> Outcome:
        """Do the work and record how it failed."""
        try:
            did = self.work(session, control)
            return did if isinstance(did, Outcome) else Outcome(Status.DONE, rows=did)
        except Halted:
            self._record(session, State.PAUSED, stop_reason(control))
            raise
        except MigrationError as error:
            return self._failed(session, error.cause, str(error))
        except errors.QueryCanceled as error:
            if control.interrupted:
                self._record(session, State.PAUSED, "interrupted")
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
        with session.transaction():
            settings = read_settings(session)
            heights = ledger_heights(session, ledger.TABLES)
            self.set_timeouts(session, control)
            self.become_owner(session)
            work()
            fire_deferred_triggers(session)
            session.execute(_ROLE.format(_NONE))
            self.require_unchanged(session, settings, heights)
            written = record()
        self.require_only(control, heights, written)

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
        if self.ref.role:
            session.execute(_SESSION_ROLE.format(sql.Identifier(self.ref.role)))
        try:
            yield
        finally:
            with contextlib.suppress(psycopg.OperationalError):
                session.execute(_SESSION_ROLE.format(_NONE))

    def require_unchanged(
        self, session: Session, settings: dict[str, object], heights: Mapping[str, int]
    ) -> None:
        """Raise MigrationError if code of the owner changed settings, user or ledger."""
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
        rows = control.look(rows_above_query(heights, self.ref.user), {})
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
            ledger.add_state(session, self.ref, self.complete, state, reason)


def _sentence(error: psycopg.Error) -> str:
    """Return the server's sentence with its constraint; never its detail, which quotes rows."""
    parts = [first_line(error)]
    if error.sqlstate:
        parts.append(f"(SQLSTATE {error.sqlstate})")
    return " ".join(parts)
