"""The interface of a job: its inputs, its pure plan, and the judgement of its outcomes."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from checks.options import CheckOptions
from checks.registry import Known
from domain.coverage import Coverage
from domain.finding import Finding, Identity, Severity
from domain.kinds import INEFFECTIVE, WINDOW_TOO_SMALL, Kind
from domain.memory import Measure, Memory
from domain.options import Model
from domain.place import Place
from domain.task import Request, Scope
from execution.control import Speed, Stop
from execution.step import Outcome, Status, Step
from postgres.fencing.advisory_locks import coordinator_lock
from postgres.fencing.trust_domain import TrustDomain
from postgres.identifiers import Relation
from postgres.session import Login, Session


@dataclass(frozen=True, slots=True)
class Settings:
    """The parts of the configuration that a job may read besides its own options."""

    databases: Callable[[], Sequence[str]]
    """Returns the configured databases, and one found database of each further server."""
    state_folder: Path
    free_disk: float
    """Share of a mount that has to stay free (governor.free_disk)."""
    pace: Speed
    checks: Mapping[str, CheckOptions]
    jobs: Mapping[str, Any]
    """The options of every job by name."""
    tenant: Callable[[str], str]
    """Returns the column of a database that tells the tenant; empty if it has none."""


@dataclass(frozen=True, slots=True)
class DomainSession:
    """A session of a `data` login, and the trust domain that it may work in."""

    login: Login
    session: Session | None
    """None if it could not be opened; `domain.wrong` says why."""
    domain: TrustDomain
    unreachable: bool = False
    """Whether the server refuses the login, or does not answer it."""

    @property
    def opened(self) -> Session:
        """Return the session of a domain that nothing is wrong with."""
        if self.session is None:
            raise TypeError(f"{self.login} has no session: {self.domain.wrong}")
        return self.session


class Domains(Protocol):
    """The trust domains of a database; their sessions are opened when first needed."""

    def all(self) -> Sequence[DomainSession]:
        """Return every configured domain, those that cannot be worked in too."""

    def of_table(self, table: Relation) -> DomainSession:
        """Return the domain of a table; `domain.wrong` says why it may not be worked on."""

    def uncovered(self) -> Mapping[str, str]:
        """Return the owners of tables that are in no domain, and why."""

    def owner_login(self, owner: str) -> tuple[Login, str]:
        """Return the login with the rights of an owner, or the reason why there is none."""


@dataclass(frozen=True, slots=True)
class JobInputs:
    """Everything that `observe` may read."""

    options: Any
    """The job's own options, an instance of `Job.options`."""
    settings: Settings
    checks: Known
    scope: Scope
    database: str
    session: Session | None
    """A session of `maintain`, for the catalog; None outside the scope of a database."""
    domains: Domains | None
    is_cluster_representative: bool
    """Whether it is the first configured database of its cluster: cluster checks run only here."""
    memory: Mapping[str, Memory]
    open: Callable[[str], AbstractContextManager[Session]]
    """Opens a read-only session in another configured database."""
    now: datetime
    request: Request | None
    """What a person asked for; None for a job that needs no request."""
    instance: str
    """The id of this sereno in the `sereno` schema of a database."""

    @property
    def opened(self) -> Session:
        """Return the session of a job in the scope of a database."""
        if self.session is None:
            raise TypeError(f"a run in the scope {self.scope} has no session")
        return self.session

    @property
    def trust_domains(self) -> Domains:
        """Return the trust domains of a job in the scope of a database."""
        if self.domains is None:
            raise TypeError(f"a run in the scope {self.scope} has no trust domains")
        return self.domains


@dataclass(frozen=True, slots=True)
class Verdict:
    """The findings of a step, and its coverage: covered alerts without a finding are resolved."""

    findings: tuple[Finding, ...] = ()
    coverage: tuple[Coverage, ...] = ()
    measures: tuple[Measure, ...] = ()
    """Values stored for comparison with later runs."""
    reports: tuple[tuple[Any, str], ...] = ()
    """Messages to enqueue besides alerts, each with the name of its channel."""
    purge_before: datetime | None = None
    """Own history that ended before this instant is deleted with the record of the step."""


def merge(verdicts: Sequence[Verdict]) -> Verdict:
    """Return one verdict with the contents of all."""
    return Verdict(
        tuple(finding for verdict in verdicts for finding in verdict.findings),
        tuple(area for verdict in verdicts for area in verdict.coverage),
        tuple(measure for verdict in verdicts for measure in verdict.measures),
        tuple(report for verdict in verdicts for report in verdict.reports),
        max((verdict.purge_before for verdict in verdicts if verdict.purge_before), default=None),
    )


Judge = Callable[[Step, Outcome, Place], Verdict]
Fence = Callable[[Session, float, Callable[[], bool]], AbstractContextManager[None]]
Recover = Callable[[JobInputs, Sequence[tuple[Step, Outcome]]], Sequence[Step]]


def _always_wanted(_options: Any, _scope: Scope) -> bool:  # noqa: ANN401 - each job has its own model
    return True


def _one_lane(_options: Any, _settings: Settings) -> int:  # noqa: ANN401 - each job has its own model
    return 1


@dataclass(frozen=True, slots=True)
class Job:
    """One module of this package."""

    name: str
    summary: str
    scopes: tuple[Scope, ...]
    observe: Callable[[JobInputs], Any]
    plan: Callable[[Any], Sequence[Step]]
    judge: Judge
    options: type[Model] = Model
    read_only: bool = False
    deletes: bool = False
    wanted: Callable[[Any, Scope], bool] = _always_wanted
    """Whether the options give the job any work in a scope."""
    lanes: Callable[[Any, Settings], int] = _one_lane
    """The number of sessions that work side by side in one database."""
    ordered: bool = False
    """Whether each step waits for the one before it, and nothing begins after one that failed."""
    on_request: bool = False
    """Whether it runs at a person's request only: no schedule may name it."""
    logins: tuple[str, ...] = ("maintain",)
    """The kinds of the logins that its sessions may use."""
    fence: Fence = coordinator_lock
    """The lock in the database that a run holds, with the patience in seconds."""
    recover: Recover | None = None
    """Returns the steps that undo an ordered run that failed."""
    alarm: Severity = Severity.HIGH
    """The severity of a run that failed."""


def action_judge(job: str, cures: str = "", remedy: str = "") -> Judge:
    """Return the judge of a job that acts.

    An ineffective step is a finding, a step that worked resolves it. `cures` names the check whose
    finding about the same object a step that worked resolves as well: its postcondition has been
    verified.
    """

    def judge(step: Step, outcome: Outcome, place: Place) -> Verdict:
        def found(kind: Kind, summary: str, cure: str) -> Verdict:
            identity = Identity(
                kind.name, place.instance, place.cluster, place.database, step.object, job
            )
            return Verdict((Finding(identity, Severity.WARNING, summary, remedy=cure),))

        if outcome.status is Status.INEFFECTIVE:
            result = "did nothing"
            if outcome.rows:
                result = "fell short"
            summary = f"{step.name} of {step.object} {result}: {outcome.reason}"
            return found(INEFFECTIVE, summary, remedy)
        if outcome.stop is Stop.TOO_LONG:
            cure = f"extend the window, or set overrun = true in [[jobs.{job}.tables]]"
            return found(WINDOW_TOO_SMALL, f"{step.name} {outcome.reason}", cure)
        if outcome.status is not Status.DONE:
            return Verdict()
        coverage = [
            Coverage(kind.name, place.database, step.object, job)
            for kind in (INEFFECTIVE, WINDOW_TOO_SMALL)
        ]
        if cures and not outcome.reason:
            coverage.append(Coverage(cures, place.database, step.object))
        return Verdict(coverage=tuple(coverage))

    return judge
