"""The interface of a check: a read-only query, whose rows a common judge turns into findings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from postgres.session import Session

Scope = Literal["cluster", "database", "host"]
OptionValues = Mapping[str, object]
Row = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Option:
    """An option of a check: its default and its description."""

    default: object
    help: str = ""


class NotSeen(Exception):  # noqa: N818 - not an error: missing privilege
    """The check may not look here; the message says which right is missing."""


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a check's file."""

    name: str
    title: str
    scope: Scope = "database"
    options: Mapping[str, Option] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    summary: str = ""
    """A template over the columns of a row; without it the query returns `summary`."""
    remedy: str = ""
    es: Mapping[str, str] = field(default_factory=dict)
    """Title, summary and remedy in Spanish."""
    source: str = ""
    order: Literal["rising", "falling"] = "rising"
    reads: Literal["catalog", "rows"] = "catalog"
    """Rows are read as the `data` login of each trust domain, the catalog as `maintain`."""
    cost: Literal["cheap", "scan"] = "cheap"
    """Cheap ones ask the catalog or a single value of each object, and go on during an outage."""
    built_in: bool = True
    lasting: str = ""
    """The option with the days for which a row has to be found before it is a finding."""
    per: Literal["", "day", "call"] = ""
    """`value` is a counter, judged by its growth per day, or per call, since the last run."""
    changes: tuple[str, ...] = ()
    """The changes of `state` that are findings: new, changed, gone; told for the option `days`."""
    forecast: bool = False
    """Whether `level` is followed towards `limit`, and judged by the days left too."""
    domain: str = ""
    """The only trust domain whose rows are read; by default each one."""

    @property
    def compares(self) -> bool:
        """Return whether a look is compared with the last one."""
        return bool(self.lasting or self.per or self.changes or self.forecast)


class Check(Protocol):
    """One file in `checks/` or in the operator's folder."""

    @property
    def header(self) -> Header:
        """Return the header."""

    def question(self, session: Session | None, options: OptionValues) -> str:
        """Return the query as it would run, for people to read."""

    def look(self, session: Session | None, options: OptionValues) -> Sequence[Row]:
        """Run the query inside a read-only transaction of the caller. Raises NotSeen."""
