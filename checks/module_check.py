"""A check that one SQL file cannot say: it asks by a function; the header and the judge are those of every check."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from checks.check import Header, OptionValues, Row
from postgres.session import Session


@dataclass(frozen=True, slots=True)
class ModuleCheck:
    """A header and two functions: what is asked, and what it would look like."""

    header: Header
    ask: Callable[[Session | None, OptionValues], Sequence[Row]]
    describe: Callable[[OptionValues], str]

    def question(self, _session: Session | None, options: OptionValues) -> str:
        """Return what would be asked."""
        return self.describe(options)

    def look(self, session: Session | None, options: OptionValues) -> Sequence[Row]:
        """Ask."""
        return self.ask(session, options)
