"""The contents of a health report. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from alerts.alert_figures import Figures
from alerts.wording import severity_wording
from domain.finding import Severity

LONGEST_DAY = timedelta(hours=26)


@dataclass(frozen=True, slots=True)
class Texts:
    """The words of an alert in one language."""

    title: str
    summary: str
    remedy: str


@dataclass(frozen=True, slots=True)
class OpenAlert:
    """An open alert; `new` since the last report."""

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
    server: str = ""
    """The first database of the server that it is about, where there are several servers."""
    before: Severity | None = None
    """Its severity at the last report; None for a new one."""
    title: str = ""
    unchecked: bool = False
    """Whether the object could not be checked: the title of the check does not hold then."""
    es: Texts | None = None
    """The same in Spanish, where the check has it."""

    @property
    def worse(self) -> bool:
        """Return whether its severity has risen since the last report."""
        return self.before is not None and self.severity > self.before

    @property
    def better(self) -> bool:
        """Return whether its severity has fallen since the last report."""
        return self.before is not None and self.severity < self.before


@dataclass(frozen=True, slots=True)
class ResolvedAlert:
    """An alert resolved since the last report."""

    kind: str
    database: str
    object: str
    summary: str
    ended: datetime
    severity: Severity = Severity.WARNING
    """The highest that it had."""
    server: str = ""
    """As that of an open one."""
    title: str = ""
    es: Texts | None = None


@dataclass(frozen=True, slots=True)
class TaskSummary:
    """The runs of a job in one place."""

    job: str
    database: str
    runs: int
    finished: int
    seconds: float
    last: str
    reason: str


@dataclass(frozen=True, slots=True)
class Night:
    """The runs of a job on one local day, in all places."""

    runs: int = 0
    finished: int = 0
    left: int = 0
    """Steps left at the end of a window or by a pause."""
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Done:
    """The steps of one kind that were done."""

    name: str
    objects: int
    rows: int
    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class DoneWork:
    """The work done on one object."""

    job: str
    database: str
    name: str
    object: str
    times: int
    rows: int
    seconds: float


@dataclass(frozen=True, slots=True)
class UndoneStep:
    """A step not done in a job's last run, with the reason."""

    job: str
    database: str
    object: str
    status: str
    reason: str


@dataclass(frozen=True, slots=True)
class Growth:
    """A size before and now, in bytes; a mount has a capacity."""

    what: str
    before: float
    now: float
    capacity: float | None = None
    full_on: date | None = None
    full_between: tuple[date, date | None] | None = None
    """The band of the forecast: the earliest day, and the latest, if it has one."""
    measured: int = 2
    """Number of values; a single one has no change."""

    @property
    def change(self) -> float:
        """Return the change in bytes."""
        return self.now - self.before


@dataclass(frozen=True, slots=True)
class NextDue:
    """The next due time of a schedule, and whether its usual work fits its window."""

    schedule: str
    due: datetime
    jobs: Sequence[str]
    times: int = 1
    """Due times in the next seven days."""
    usual_seconds: float = 0.0
    """What its jobs took on average in the last four weeks; 0 if that is not known."""
    window_seconds: float = 0.0

    @property
    def fits(self) -> bool:
        """Return whether the usual work fits the window."""
        return self.usual_seconds <= self.window_seconds


@dataclass(frozen=True, slots=True)
class Proofs:
    """The objects of a database that were verified, and the age of the oldest proof."""

    database: str
    wanted: int
    proven: int
    oldest_days: float
    noun: str = "indexes and tables"

    @property
    def percent(self) -> int:
        """Return the verified share in percent, rounded down."""
        return math.floor(100 * self.proven / self.wanted) if self.wanted else 100


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement of pg_stat_statements between the last two looks."""

    database: str
    query: str
    calls: float
    milliseconds: float
    mean: float
    usual: float | None


@dataclass(frozen=True, slots=True)
class MigrationState:
    """A migration and how far it is in one database."""

    database: str
    migration: str
    title: str
    phase: str
    state: str
    problem: str


@dataclass(frozen=True, slots=True)
class Version:
    """The version of a server."""

    database: str
    version: str


@dataclass(frozen=True, slots=True)
class Report:
    """All contents of a report; times are in the configured zone."""

    instance: str
    since: datetime
    until: datetime
    first: bool
    alerts: Sequence[OpenAlert]
    over: Sequence[ResolvedAlert]
    tasks: Sequence[TaskSummary]
    work: Sequence[DoneWork]
    left: Sequence[UndoneStep]
    databases: Sequence[Growth]
    tables: Sequence[Growth]
    mounts: Sequence[Growth]
    next: Sequence[NextDue]
    figures: Figures = field(default_factory=Figures)
    nights: Mapping[str, Mapping[str, Night]] = field(default_factory=dict)
    """By job and local date, for seven days."""
    done: Sequence[Done] = ()
    wal: Sequence[Growth] = ()
    proofs: Sequence[Proofs] = ()
    statements: Sequence[Statement] = ()
    migrations: Sequence[MigrationState] = ()
    versions: Sequence[Version] = ()
    sereno_version: str = ""
    sizes: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    """Values per database: seconds since the epoch, bytes."""
    disks: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    """The used share per mount: seconds since the epoch, share."""
    trends: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """The slope of each mount, and its standard error, in shares a second; none without one."""
    page: str = ""
    """The address of the status page; empty without one."""

    @property
    def needing_attention(self) -> Sequence[OpenAlert]:
        """Return the open alerts above info."""
        return [one for one in self.alerts if one.severity > Severity.INFO]

    @property
    def idle(self) -> bool:
        """Return whether nothing has run for more than a night."""
        return not self.tasks and self.until - self.since > LONGEST_DAY

    @property
    def worst(self) -> Severity:
        """Return the highest open severity; at least high if nothing has run."""
        worst = max((one.severity for one in self.needing_attention), default=Severity.INFO)
        if self.idle:
            return max(worst, Severity.HIGH)
        return worst

    @property
    def colour(self) -> str:
        """Return the colour of the highest severity."""
        return severity_wording(self.worst).overall

    @property
    def runs(self) -> tuple[int, int]:
        """Return the number of runs, and of those that finished."""
        return sum(one.runs for one in self.tasks), sum(one.finished for one in self.tasks)
