"""A step that measures a database: its size, its largest tables, and how much WAL is written."""

from dataclasses import dataclass

from execution.control import StepControl
from execution.step import DatabaseStep, Outcome, Status
from postgres.session import Rows, Session
from postgres.statement_file import read_statement

_SIZES = read_statement("jobs", "sizes")


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureSizes(DatabaseStep):
    """Measures the database and its 50 largest tables, TOAST and indexes included."""

    why: str = "stored to show growth"
    name: str = "measure"
    object: str = "sizes"
    lock: str = "ACCESS SHARE"
    limit_seconds: float = 600.0

    def statement(self) -> str:
        """Return the query."""
        return _SIZES.as_string(None).strip()

    def apply(self, session: Session, control: StepControl) -> Outcome:
        """Run the query; tables that are locked exclusively or dropped meanwhile are left out."""

        def piece() -> Rows:
            with session.transaction(read_only=True):
                session.set_timeouts(control.remaining_seconds())
                return session.rows(_SIZES)

        rows = [row for row in control.attempt(piece) if row["value"] is not None]
        return Outcome(Status.DONE, rows=len(rows), found=tuple(rows))
