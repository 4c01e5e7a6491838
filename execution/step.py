"""What the executor is given and what it gives back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from execution.control import Pace, Stop
from postgres.session import Session

Evidence = Mapping[str, object]


class Owned:
    """A step that needs the rights of a table's owner: it is done as `maintain`, whatever login its job has."""

    __slots__ = ()


class Status(StrEnum):
    """How a step ended. `ineffective`: it ran without an error and changed nothing that it should have."""

    DONE = "done"
    INEFFECTIVE = "ineffective"
    SKIPPED = "skipped"
    UNFINISHED = "unfinished"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one step did."""

    status: Status
    reason: str = ""
    rows: int = 0
    bytes: int = 0
    seconds: float = 0.0
    paused: Mapping[str, float] = field(default_factory=dict)
    """Seconds waited for the governor, by its reason."""
    stop: Stop | None = None
    blocked: bool = False
    """Somebody's lock was in the way: it is tried once more when all else is done."""
    found: tuple[Evidence, ...] = ()
    """The rows that a check's query returned, for its judge."""
    evidence: Evidence = field(default_factory=dict)
    """What the next plan wants to know; kept in the object memory."""
    parts: tuple[tuple["Step", "Outcome"], ...] = ()
    """What a step of several did to each of them; it stands in the history instead of the whole."""
    rest: tuple["Step", ...] = ()
    """What it did not get to: to be done one by one."""


class Step(Protocol):
    """One thing to do to one object. Made by a pure plan; only the executor calls `apply`."""

    @property
    def name(self) -> str:
        """The verb: analyze, delete, check."""

    @property
    def object(self) -> str:
        """What it is done to, as one would write it in psql."""

    @property
    def why(self) -> str:
        """Why it is planned, with the numbers."""

    @property
    def lock(self) -> str:
        """The strongest lock it takes, in the words of the manual's section 13.3."""

    @property
    def predicted_seconds(self) -> float:
        """How long it is believed to take; 0 where nobody knows."""

    @property
    def alone(self) -> bool:
        """Whether it waits for all steps before it, and nothing runs beside it."""

    @property
    def limit_seconds(self) -> float:
        """How long it may take at the most, whatever the window."""

    def statement(self) -> str:
        """Return what would be run, for people to read."""

    def apply(self, session: Session | None, pace: Pace) -> Outcome:
        """Do it. `session` is None for a step of the host. psycopg's errors are the executor's to understand."""
