"""A check as a step: asked in one read-only transaction, its rows handed on to the judge."""

from dataclasses import dataclass

from checks.check import Check, NotSeen, OptionValues, Row
from checks.sql_check import BadCheckError
from execution.control import Pace
from execution.step import Outcome, Status
from postgres.session import Session

LIMIT_SECONDS = 1800.0


@dataclass(frozen=True, slots=True)
class Question:
    """One check, asked of one database (or of the host)."""

    check: Check
    options: OptionValues
    why: str
    predicted_seconds: float = 0.0
    limit_seconds: float = LIMIT_SECONDS
    alone: bool = False
    name: str = "check"
    lock: str = "ACCESS SHARE"
    text: str = ""

    @property
    def object(self) -> str:
        """The check's name."""
        return self.check.header.name

    def statement(self) -> str:
        """Return what is asked."""
        return self.text

    def apply(self, session: Session | None, pace: Pace) -> Outcome:
        """Ask. What may not be seen is skipped, with the reason."""
        try:
            rows = pace.attempt(lambda: self._rows(session, pace))
        except NotSeen as unseen:
            return Outcome(Status.SKIPPED, str(unseen))
        except BadCheckError as bad:
            return Outcome(Status.FAILED, str(bad))
        return Outcome(Status.DONE, rows=len(rows), found=rows)

    def _rows(self, session: Session | None, pace: Pace) -> tuple[Row, ...]:
        if session is None:
            return tuple(self.check.look(None, self.options))
        with session.transaction(read_only=True):
            session.allow(pace.remaining_seconds())
            return tuple(self.check.look(session, self.options))
