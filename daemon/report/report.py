"""The contents of a health report. Pure."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from alerts.wording import severity_wording
from domain.finding import Severity

LONGEST_DAY = timedelta(hours=26)


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


@dataclass(frozen=True, slots=True)
class ResolvedAlert:
    """An alert resolved since the last report."""

    kind: str
    database: str
    object: str
    summary: str
    ended: datetime


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
    measured: int = 2
    """Number of values; a single one has no change."""

    @property
    def change(self) -> float:
        """Return the change in bytes."""
        return self.now - self.before


@dataclass(frozen=True, slots=True)
class NextDue:
    """The next due time of a schedule."""

    schedule: str
    due: datetime
    jobs: Sequence[str]


@dataclass(frozen=True, slots=True)
class Proofs:
    """The objects of a database that were verified, and the age of the oldest proof."""

    database: str
    wanted: int
    proven: int
    oldest_days: float
    noun: str = "indexes and tables"

    @property
    def sentence(self) -> str:
        """Return the coverage in one line."""
        share = self.proven / self.wanted if self.wanted else 1.0
        days = math.ceil(self.oldest_days)
        within = f" within {days} day{'s' * (days != 1)}" if self.proven else ""
        return f"{math.floor(share * 100)} % of {self.wanted} {self.noun} verified{within}"


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
    more_work: Mapping[tuple[str, str], int]
    """Number of further objects per job and database."""
    left: Sequence[UndoneStep]
    databases: Sequence[Growth]
    tables: Sequence[Growth]
    mounts: Sequence[Growth]
    next: Sequence[NextDue]
    waiting: int
    """Notifications tried and not yet delivered."""
    nights: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Seconds by local date and job."""
    proofs: Sequence[Proofs] = ()
    sizes: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    """Values per database: seconds since the epoch, bytes."""

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
    def sentence(self) -> str:
        """Return the summary in one sentence."""
        needing = self.needing_attention
        if not needing:
            if self.idle:
                return "Nothing has run since the last report; is the service running?"
            if any(task.finished < task.runs for task in self.tasks):
                return f"No alert is open; {self._runs()}."
            return f"All is well: {self._runs()}, nothing needs attention."
        counts = Counter(alert.severity for alert in needing)
        ranked = sorted(counts, key=lambda one: -one.rank)
        named = ", ".join(_counted(counts[one], one) for one in ranked)
        verb = "alert needs"
        if len(needing) > 1:
            verb = "alerts need"
        start = f"{len(needing)} {verb} attention ({named})"
        if self.idle:
            return f"{start}; nothing has run; is the service running?"
        return f"{start}; {self._runs()}."

    def _runs(self) -> str:
        runs = sum(task.runs for task in self.tasks)
        finished = sum(task.finished for task in self.tasks)
        if not runs:
            return "no run since the last report"
        if finished == runs:
            return f"{runs} run{'s' * (runs != 1)}, all finished"
        return f"{runs} run{'s' * (runs != 1)}, {finished} finished"


def _counted(count: int, severity: Severity) -> str:
    return f"{count} {severity}{'s' if count > 1 and severity is Severity.WARNING else ''}"
