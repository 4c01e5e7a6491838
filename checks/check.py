"""What every check is: a question that only reads, and a pure judge of the rows it returns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from postgres.session import Session

Scope = Literal["cluster", "database", "host"]
OptionValues = Mapping[str, object]
Row = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Option:
    """A knob of a check: its default, and one sentence."""

    default: object
    help: str = ""




class NotSeen(Exception):  # noqa: N818 - nothing is wrong, we may not look
    """The check cannot look here; the sentence says what is missing."""


@dataclass(frozen=True, slots=True)
class Header:
    """What the head of a check's file says."""

    name: str
    title: str
    scope: Scope = "database"
    options: Mapping[str, Option] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    remedy: str = ""
    source: str = ""
    order: Literal["rising", "falling"] = "rising"


class Check(Protocol):
    """One file in `checks/` or in the operator's folder: a header, and a question. The judge is one for all."""

    @property
    def header(self) -> Header:
        """What the head of the file says."""

    def question(self, session: Session | None, options: OptionValues) -> str:
        """Return what would be asked, for people to read."""

    def look(self, session: Session | None, options: OptionValues) -> Sequence[Row]:
        """Ask, in a read-only transaction of the caller. NotSeen where we may not."""
