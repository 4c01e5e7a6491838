"""What every job is: what it looks at, a pure plan, and what its outcomes mean."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from alerts.alert import Message
from alerts.policy import Coverage
from checks.check import Place
from checks.finding import Finding, Identity, Severity
from checks.registry import Known
from daemon.config.model import Config
from daemon.history import NOW, Measure, Memory, Task, Trigger
from postgres.connection import Login, Session
from postgres.pace import Stop
from postgres.step import Outcome, Status, Step
from store.store import Transaction


class Scope(StrEnum):
    """What one run of a job is about. Only that of a database has a session."""

    DATABASE = "database"
    HOST = "host"
    SERVICE = "service"


@dataclass(frozen=True, slots=True)
class Looking:
    """Everything that `observe` may look at. It only reads."""

    config: Config
    checks: Known
    scope: Scope
    database: str
    session: Session | None
    leads_cluster: bool
    """Whether this database speaks for its cluster, so that three databases are not told thrice."""
    memory: Mapping[str, Memory]
    open: Callable[[str], AbstractContextManager[Session]]
    """Open a session of another configured database; a host job asks them all."""
    reading: Callable[[], AbstractContextManager[Transaction]]
    """Read the store; the health report looks at nothing else."""
    now: datetime
    instance: str
    """The id that the database knows us by."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong, and how far the look reached: open alerts inside it that were not found again are over."""

    findings: tuple[Finding, ...] = ()
    coverage: tuple[Coverage, ...] = ()
    measures: tuple[Measure, ...] = ()
    """What is kept to be compared with later."""
    letters: tuple[tuple[Message, str], ...] = ()
    """What is owed beside alerts: messages, each with its channel."""
    forget: datetime | None = None
    """What of our own history ended before this is not kept any longer."""


def together(verdicts: Sequence[Verdict]) -> Verdict:
    """Return one verdict that says all of them."""
    return Verdict(
        tuple(finding for verdict in verdicts for finding in verdict.findings),
        tuple(area for verdict in verdicts for area in verdict.coverage),
        tuple(measure for verdict in verdicts for measure in verdict.measures),
        tuple(letter for verdict in verdicts for letter in verdict.letters),
        max((verdict.forget for verdict in verdicts if verdict.forget), default=None),
    )


Judge = Callable[[Step, Outcome, Place], Verdict]


@dataclass(frozen=True, slots=True)
class Job:
    """One module of this folder."""

    name: str
    summary: str
    scopes: tuple[Scope, ...]
    observe: Callable[[Looking], Any]
    plan: Callable[[Any], Sequence[Step]]
    judge: Judge
    login: Login = "maintain"
    read_only: bool = False
    deletes: bool = False
    wanted: Callable[[Config, Scope], bool] = lambda _config, _scope: True
    """Whether the configuration gives it anything to do there."""
    lanes: Callable[[Config], int] = lambda _config: 1
    """How many sessions work side by side in one database."""


@dataclass(frozen=True, slots=True)
class Errand:
    """One job in one place, and why."""

    job: Job
    scope: Scope
    database: str
    trigger: Trigger = NOW

    @property
    def place(self) -> str:
        """Where it queues: in a database, on the host, or last."""
        return f"{self.scope.value} {self.database}".strip()

    @property
    def task(self) -> Task:
        """The same by name, as the history keeps it."""
        return Task(self.job.name, self.scope.value, self.database, self.trigger)


INEFFECTIVE = "ineffective"
WINDOW_TOO_SMALL = "window_too_small"


def effect(job: str, cures: str = "", remedy: str = "") -> Judge:
    """Return the judge of a job that acts: what was in vain is a finding, what worked is the end of it.

    `cures` names the check whose finding about the same object is over as well: a postcondition has looked.
    """

    def judge(step: Step, outcome: Outcome, place: Place) -> Verdict:
        if outcome.status is Status.INEFFECTIVE:
            identity = Identity(INEFFECTIVE, place.instance, place.cluster, place.database, step.object, job)
            came = "fell short" if outcome.rows else "did nothing"
            summary = f"{step.name} of {step.object} {came}: {outcome.reason}"
            return Verdict((Finding(identity, Severity.WARNING, summary, remedy=remedy),))
        if outcome.stop is Stop.TOO_LONG:
            identity = Identity(WINDOW_TOO_SMALL, place.instance, place.cluster, place.database, step.object, job)
            cure = f"a longer window; or [[jobs.{job}.tables]] with overrun = true"
            return Verdict((Finding(identity, Severity.WARNING, f"{step.name} {outcome.reason}", remedy=cure),))
        if outcome.status is Status.DONE:
            over = Coverage(INEFFECTIVE, place.database, step.object, job)
            cured = Coverage(cures, place.database, step.object)
            fits = Coverage(WINDOW_TOO_SMALL, place.database, step.object, job)
            return Verdict(coverage=(over, fits, cured) if cures and not outcome.reason else (over, fits))
        return Verdict()

    return judge
