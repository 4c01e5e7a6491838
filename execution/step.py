"""Steps: the input of the executor, and the outcome of each."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from domain.cause import Cause
from execution.control import StepControl, Stop
from postgres.session import MAINTAIN, Login, Session

Evidence = Mapping[str, object]


class Status(StrEnum):
    """The end of a step.

    `ineffective`: it ran without an error, but its postcondition does not hold.
    """

    DONE = "done"
    INEFFECTIVE = "ineffective"
    SKIPPED = "skipped"
    UNFINISHED = "unfinished"
    FAILED = "failed"


_SEVERITY = (Status.DONE, Status.INEFFECTIVE, Status.SKIPPED, Status.UNFINISHED, Status.FAILED)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one step."""

    status: Status
    reason: str = ""
    rows: int = 0
    bytes: int = 0
    seconds: float = 0.0
    paused: Mapping[str, float] = field(default_factory=dict)
    """Seconds paused by the governor, by reason."""
    stop: Stop | None = None
    cause: Cause | None = None
    """The machine-readable cause of a step that was skipped or failed."""
    found: tuple[Evidence, ...] = ()
    """The rows returned by a check's query, for its judge."""
    evidence: Evidence = field(default_factory=dict)
    """Values for the next plan, stored in the memory of the object."""
    results: tuple[tuple["Step", "Outcome"], ...] = ()
    """The outcome of each part of a step of several; recorded instead of the whole."""
    remaining: tuple["Step", ...] = ()
    """The parts that a step of several did not reach; they run one by one."""

    @property
    def blocked(self) -> bool:
        """Return whether another session's lock prevented the step; it is retried at the end."""
        return self.cause is Cause.LOCKED


@dataclass(frozen=True, slots=True, kw_only=True)
class Step(ABC):
    """One action on one object. A pure plan creates steps; only the executor applies them."""

    name: str
    """The verb: analyze, delete, check."""
    object: str
    """The object, as one would write it in psql."""
    why: str = ""
    """The reason for planning it, with its numbers."""
    lock: str = ""
    """The strongest lock that it takes, in the words of the manual, section 13.3."""
    predicted_seconds: float = 0.0
    """The expected duration; 0 if unknown."""
    limit_seconds: float = 12 * 3600.0
    """The longest duration, whatever the window."""
    alone: bool = False
    """Whether it waits for all steps before it, and no step runs beside it."""
    urgent: bool = False
    """Whether it ignores the window and yields to nobody (anti-wraparound work)."""
    unpaused: bool = False
    """Whether only an operator pauses it, not the load of the server: a short look."""
    overrun: bool = False
    """Whether it may begin although it would not finish within the window."""
    has_history: bool = True
    """Whether the prediction comes from the object's own history; a guess prevents no first try."""
    logins: tuple[Login, ...] = (MAINTAIN,)
    """The logins to run it as; with several it runs once as each, and the outcomes are merged."""

    @abstractmethod
    def statement(self) -> str:
        """Return the SQL or command that would run, for people to read."""

    def parts(self) -> "Sequence[Step]":
        """Return the steps that this one consists of: itself, unless it is a step of several."""
        return (self,)

    def merge(self, outcomes: Sequence[Outcome]) -> Outcome:
        """Return one outcome for those of several logins; the worst status counts."""
        worst = max(outcomes, key=lambda outcome: _SEVERITY.index(outcome.status))
        return replace(
            worst,
            rows=sum(outcome.rows for outcome in outcomes),
            seconds=sum(outcome.seconds for outcome in outcomes),
            found=tuple(row for outcome in outcomes for row in outcome.found),
        )


class DatabaseStep(Step):
    """A step that works in a session."""

    __slots__ = ()

    @abstractmethod
    def apply(self, session: Session, control: StepControl) -> Outcome:
        """Run the step. Errors of psycopg are raised; the executor turns them into outcomes."""


class HostStep(Step):
    """A step on the host: files, or the service's own store."""

    __slots__ = ()

    @abstractmethod
    def apply(self, control: StepControl) -> Outcome:
        """Run the step. OSError is raised; the executor turns it into an outcome."""
