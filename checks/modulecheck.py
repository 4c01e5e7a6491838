"""A check that one SQL file cannot say: it asks by a function; the header and the judge are those of every check."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from checks.check import Header, Option, Options, Place, Row, Scope
from checks.finding import Finding
from checks.judge import judge
from postgres.connection import Session


@dataclass(frozen=True, slots=True)
class ModuleCheck:
    """A header and two functions: what is asked, and what it would look like."""

    header: Header
    ask: Callable[[Session | None, Options], Sequence[Row]]
    describe: Callable[[Options], str]

    @property
    def name(self) -> str:
        """The module's name."""
        return self.header.name

    @property
    def title(self) -> str:
        """The header's."""
        return self.header.title

    @property
    def scope(self) -> Scope:
        """The header's."""
        return self.header.scope

    @property
    def options(self) -> Mapping[str, Option]:
        """The header's."""
        return self.header.options

    def question(self, _session: Session | None, options: Options) -> str:
        """Return what would be asked."""
        return self.describe(options)

    def look(self, session: Session | None, options: Options) -> Sequence[Row]:
        """Ask."""
        return self.ask(session, options)

    def judge(self, rows: Sequence[Row], options: Options, place: Place) -> tuple[Finding, ...]:
        """The generic judge."""
        return judge(self.header, rows, options, place)
