"""What a health report says, as values; and its one sentence. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum

from domain.finding import Severity

A_NIGHT = timedelta(hours=26)


class Colour(StrEnum):
    """How the house is, at one look."""

    GREEN = "green"
    YELLOW = "yellow"
    ORANGE = "orange"
    RED = "red"


_COLOURS = {
    Severity.INFO: Colour.GREEN,
    Severity.WARNING: Colour.YELLOW,
    Severity.HIGH: Colour.ORANGE,
    Severity.CRITICAL: Colour.RED,
}


@dataclass(frozen=True, slots=True)
class Trouble:
    """One open alert. `new`: it was not there at the last report."""

    number: int
    severity: Severity
    kind: str
    database: str
    object: str
    summary: str
    remedy: str
    since: datetime
    new: bool
    acknowledged_by: str = ""


@dataclass(frozen=True, slots=True)
class Over:
    """One alert that ended since the last report."""

    kind: str
    database: str
    object: str
    summary: str
    ended: datetime


@dataclass(frozen=True, slots=True)
class Task:
    """How a job went in one place."""

    job: str
    database: str
    runs: int
    finished: int
    seconds: float
    last: str
    reason: str


@dataclass(frozen=True, slots=True)
class Work:
    """What was done to one object."""

    job: str
    database: str
    name: str
    object: str
    times: int
    rows: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Left:
    """What was not done in a job's last run, and why."""

    job: str
    database: str
    object: str
    status: str
    reason: str


@dataclass(frozen=True, slots=True)
class Growth:
    """A size at the beginning and at the end of the report's time, in bytes. A mount has a capacity."""

    what: str
    before: float
    now: float
    capacity: float | None = None
    full_on: date | None = None
    measured: int = 2
    """How many times: one value has no change."""

    @property
    def change(self) -> float:
        """Bytes more."""
        return self.now - self.before


@dataclass(frozen=True, slots=True)
class Next:
    """A schedule's next due time."""

    schedule: str
    due: datetime
    jobs: Sequence[str]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that the letter says. Times are in the zone of the configuration."""

    instance: str
    since: datetime
    until: datetime
    first: bool
    troubles: Sequence[Trouble]
    over: Sequence[Over]
    tasks: Sequence[Task]
    works: Sequence[Work]
    more_works: Mapping[tuple[str, str], int]
    """How many more objects a job worked on in a database."""
    left: Sequence[Left]
    databases: Sequence[Growth]
    tables: Sequence[Growth]
    mounts: Sequence[Growth]
    next: Sequence[Next]
    waiting: int
    """Messages that their channel has not taken yet, though it was tried."""
    nights: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Seconds by local date and job."""
    sizes: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    """Of each database: (seconds since the epoch, bytes)."""

    @property
    def needing(self) -> Sequence[Trouble]:
        """What needs somebody: the open alerts but those that only inform."""
        return [trouble for trouble in self.troubles if trouble.severity > Severity.INFO]

    @property
    def idle(self) -> bool:
        """Whether nothing has run though a night has gone by."""
        return not self.tasks and self.until - self.since > A_NIGHT

    @property
    def worst(self) -> Severity:
        """The worst that is open; a week without a run is no good week."""
        worst = max((trouble.severity for trouble in self.needing), default=Severity.INFO)
        return max(worst, Severity.HIGH) if self.idle else worst

    @property
    def colour(self) -> Colour:
        """How bad that is, at one look."""
        return _COLOURS[self.worst]

    @property
    def sentence(self) -> str:
        """How the house is."""
        runs = sum(task.runs for task in self.tasks)
        finished = sum(task.finished for task in self.tasks)
        ran = f"{runs} run{'s' * (runs != 1)}, {'all' if finished == runs else finished} finished"
        if self.idle:
            ran = "nothing has run: is the service up?"
        elif not runs:
            ran = "no run since the last report"
        if self.idle and not self.needing:
            return "Nothing has run since the last report: is the service up?"
        if not self.needing:
            return f"All is well: {ran}, nothing needs you."
        counts = Counter(trouble.severity for trouble in self.needing)
        named = ", ".join(_counted(counts[one], one) for one in sorted(counts, key=lambda one: -one.rank))
        verb = "things need" if len(self.needing) > 1 else "thing needs"
        return f"{len(self.needing)} {verb} you ({named}); {ran}{'' if ran.endswith('?') else '.'}"


def _counted(count: int, severity: Severity) -> str:
    return f"{count} {severity}{'s' if count > 1 and severity is Severity.WARNING else ''}"
