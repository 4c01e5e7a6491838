"""A check as a step: its query runs in one read-only transaction, its rows go to the judge."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from checks.bounds import first_rows
from checks.check import Check, Header, NotSeen, OptionValues, Row
from checks.constraints import ForeignKey
from checks.foreign_keys import rows_of
from checks.history import FIRST_LOOK, compare, merged
from checks.judge import severity_of
from checks.sql_check import BadCheckError
from domain.cause import Cause
from domain.memory import Memory
from execution.control import StepControl
from execution.step import DatabaseStep, HostStep, Outcome, Status, Step
from postgres.session import Session

LIMIT_SECONDS = 1800.0
CHEAP_LIMIT_SECONDS = 30.0
KEY_LIMIT_SECONDS = 4 * 3600.0
NO_PRIVILEGE = "not checked: no privilege"
"""The summary of an SQL check about an object that the login may not read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckStep(DatabaseStep):
    """One check in one database."""

    check: Check
    options: OptionValues
    text: str
    """The query, for people to read."""
    now: datetime
    before: Memory | None = None
    """The memory of its last look."""
    name: str = "check"
    lock: str = "ACCESS SHARE"
    limit_seconds: float = LIMIT_SECONDS
    cancellable: bool = False
    """Whether it is cancelled, and tried again later, when a session waits behind it."""

    def statement(self) -> str:
        """Return the query."""
        return self.text

    def merge(self, outcomes: Sequence[Outcome]) -> Outcome:
        """Return one outcome for all trust domains; none knows the rows of another.

        A domain that could not be asked ends the check of no other: it is a row without a value.
        """
        worst = DatabaseStep.merge(self, outcomes)
        done = [one for one in outcomes if one.status is Status.DONE]
        found = [row for one in done for row in one.found if not _is_unread(row)]
        if not done or worst.stop is not None:
            return replace(worst, found=tuple(found), rows=len(found))
        for login, one in zip(self.logins, outcomes, strict=True):
            if one.status is not Status.DONE:
                summary = f"not checked as {login}: {one.reason}"
                found.append({"object": str(login), "value": None, "summary": summary})
        kept = merged([one.evidence for one in done])
        return replace(
            done[0], found=tuple(found), rows=len(found), seconds=worst.seconds, evidence=kept
        )

    def apply(self, session: Session, control: StepControl) -> Outcome:
        """Run the query. A check that may not look is skipped with the reason."""

        def ask() -> tuple[Row, ...]:
            with session.transaction(read_only=True):
                session.set_timeouts(control.remaining_seconds())
                control.cancellable = self.cancellable
                try:
                    return tuple(self.look(session))
                finally:
                    control.cancellable = False

        outcome = _outcome(lambda: control.attempt(ask))
        return _compared(self, outcome)

    def look(self, session: Session) -> Sequence[Row]:
        """Return the rows of the check, inside a read-only transaction."""
        return self.check.look(session, self.options)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignKeyStep(CheckStep):
    """One large foreign key, as a step with a history of its own; its object is the key."""

    key: ForeignKey
    limit_seconds: float = KEY_LIMIT_SECONDS
    cancellable: bool = True

    def look(self, session: Session) -> Sequence[Row]:
        """Return a row if rows break the key."""
        return rows_of(session, self.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostCheckStep(HostStep):
    """One check of the host."""

    check: Check
    options: OptionValues
    text: str
    """What is examined, for people to read."""
    now: datetime
    before: Memory | None = None
    """The memory of its last look."""
    name: str = "check"
    limit_seconds: float = LIMIT_SECONDS

    def statement(self) -> str:
        """Return the query, for people to read."""
        return self.text

    def apply(self, _control: StepControl) -> Outcome:
        """Examine the host."""
        return _compared(self, _outcome(lambda: tuple(self.check.look(None, self.options))))


def checked_by(step: Step) -> str:
    """Return the name of the check that a step belongs to; its object if it is none."""
    if isinstance(step, CheckStep | HostCheckStep):
        return step.check.header.name
    return step.object


def _compared(step: CheckStep | HostCheckStep, outcome: Outcome) -> Outcome:
    """Return the outcome of a look compared with the last one, if the check compares."""
    header = step.check.header
    if outcome.status is not Status.DONE or not header.compares:
        return outcome
    try:
        found, kept = compare(header, outcome.found, step.options, step.before, step.now)
    except (KeyError, ValueError, TypeError) as error:
        reason = f"check {header.name}: its rows cannot be compared: {error!r}"
        return Outcome(Status.FAILED, reason, cause=Cause.BAD_CHECK)
    if isinstance(step, CheckStep):
        found = first_rows(_worst_first(header, found, step.options), step.options)
    first = FIRST_LOOK if step.before is None and outcome.found else ""
    return replace(outcome, reason=first, rows=len(found), found=tuple(found), evidence=kept)


def _worst_first(header: Header, rows: Sequence[Row], options: OptionValues) -> Sequence[Row]:
    """Return the rows that are findings, the worst first: the others only take their places."""
    judged = [(severity_of(header, row, options), row) for row in rows]
    findings = [(severity, row) for severity, row in judged if severity is not None]
    return [row for _, row in sorted(findings, key=lambda one: one[0], reverse=True)]


def _is_unread(row: Row) -> bool:
    return row.get("value") is None and str(row.get("summary")) == NO_PRIVILEGE


def _outcome(ask: Callable[[], tuple[Row, ...]]) -> Outcome:
    try:
        rows = ask()
    except NotSeen as error:
        return Outcome(Status.SKIPPED, str(error), cause=Cause.NOT_SEEN)
    except BadCheckError as error:
        return Outcome(Status.FAILED, str(error), cause=Cause.BAD_CHECK)
    return Outcome(Status.DONE, rows=len(rows), found=rows)
