"""A check written in Python, for questions that one SQL file cannot ask."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from checks.bounds import first_rows
from checks.check import Header, OptionValues, Row
from postgres.session import Session


@dataclass(frozen=True, slots=True)
class ModuleCheck:
    """A header, the function that asks, and a function that describes it."""

    header: Header
    ask: Callable[[Session | None, OptionValues], Sequence[Row]]
    describe: Callable[[OptionValues], str]

    def question(self, _session: Session | None, options: OptionValues) -> str:
        """Return the description of the question."""
        return self.describe(options)

    def look(self, session: Session | None, options: OptionValues) -> Sequence[Row]:
        """Return the rows, at most `most_findings`; all of them if they are compared afterwards."""
        rows = self.ask(session, options)
        return rows if self.header.compares else first_rows(rows, options)
