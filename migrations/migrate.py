"""The job `migrate`: one migration, applied or rolled back at a person's request."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Literal

from domain.cause import Cause
from domain.coverage import Coverage
from domain.finding import Finding, Identity, Severity
from domain.kinds import MIGRATION_WAITING
from domain.place import Place
from domain.task import Scope
from execution.step import Outcome, Status, Step
from jobs.job import Job, JobInputs, Verdict
from migrations import gate_ledger, ledger, state
from migrations.format import UNDONE_ALONE, Migration, Phase
from migrations.gates import PASSED, Gate, GateFacts, gates_of
from migrations.ledger import RunRef
from migrations.plan import (
    plan_adopt,
    plan_apply,
    plan_hash,
    plan_rollback,
    undo,
    verify,
)
from migrations.planning import Planning, require_applicable, require_open_gates
from migrations.state import Event, Progress, State
from migrations.statements import TableLock
from migrations.steps.begin import BeginRun
from migrations.steps.check_phase import CheckPhase
from migrations.steps.migration_step import MigrationError, MigrationStep
from migrations.steps.run_batches import MostKeys, unlimited
from postgres.fencing.advisory_locks import migration_lock
from postgres.fencing.migration_grants import login_reason
from postgres.session import MIGRATE, Session, TargetError

NAME = "migrate"
EPOCH = datetime.min.replace(tzinfo=UTC)
Action = Literal["apply", "rollback", "adopt"]


@dataclass(frozen=True, slots=True)
class MigrationRequest:
    """The request of a person."""

    action: Action
    run: str
    migration: Migration
    until: Phase | None = None
    reviewed: str = ""
    """The plan hash that was reviewed; empty accepts any."""
    accepts: bool = False
    """Whether a rollback accepts a catalog that differs."""
    principal: str = "local"
    reason: str = ""
    environment: str = ""
    gating: GateFacts | None = None
    """The facts about gates from outside the ledger; None for no gates."""
    shows_only: bool = False
    """Whether the plan is shown, although gates are closed."""
    version: str = ""
    budget_seconds: float = 600.0
    check_age_seconds: float = 600.0
    rehearsed: Mapping[str, Sequence[TableLock]] = field(default_factory=dict)
    most_keys: MostKeys = unlimited
    """The most keys of a batch, which a person may change while it runs."""


_PLANS = {"apply": plan_apply, "rollback": plan_rollback, "adopt": plan_adopt}


def migrate_user(session: Session) -> str:
    """Return the `migrate` login of a database. Raises TargetError if none is configured."""
    target = session.target
    if MIGRATE not in target.logins:
        raise TargetError(
            f"{target.name}: migrations need a login: configure databases.{target.name}.migrate "
            f"= {{ user, role }}, then run: sereno install {target.name} --admin DSN"
        )
    return target.logins[MIGRATE].user


def read_progress(session: Session, user: str) -> dict[str, Progress]:
    """Return the progress of every migration that the ledger knows. Raises TargetError."""
    return state.current(ledger.events(session, user))


def read_planning(session: Session, request: MigrationRequest) -> Planning:
    """Return all that the plan of a request is made of. Raises TargetError, MigrationError."""
    user = migrate_user(session)
    target, migration = session.target, request.migration
    if reason := login_reason(session, target):
        raise TargetError(f"{target.name}: {reason}")
    events = ledger.events(session, user)
    known = state.current(events)
    ref = RunRef.of(request.run, migration, user, target.migrate_role)
    progress = replace(
        known.get(migration.id, Progress()),
        steps=ledger.steps(session, user, migration.id),
        batches=ledger.batches(session, user, migration.id),
    )
    _require_untampered(session, migration.id, progress)
    facts = session.facts
    return Planning(
        ref=ref,
        migration=migration,
        progress=progress,
        until=_until(session, user, request, progress),
        accepts=request.accepts,
        others=known,
        recorded=ledger.recorded_phases(session, user, migration.id),
        gates=_gates(session, ref, request, events),
        target=f"{facts.system_identifier} {facts.database_oid}",
        rehearsed=request.rehearsed,
        most_keys=request.most_keys,
        budget_seconds=request.budget_seconds,
        data_check_due=ledger.seconds_since_check(session, ref, Phase.DATA)
        > request.check_age_seconds,
    )


def _gates(
    session: Session, ref: RunRef, request: MigrationRequest, events: Sequence[Event]
) -> tuple[Gate, ...]:
    """Return the gates as they are now; none for a rollback."""
    if request.gating is None or request.action != "apply":
        return ()
    own = state.since_rollback([one for one in events if one.migration == ref.migration])
    undone = own[0].written_at if own and own[0].state == State.ROLLED_BACK else EPOCH
    rows = gate_ledger.recorded_gates(session, ref, request.gating.environment, undone)
    progress = state.current(own).get(ref.migration, Progress())
    facts = replace(
        request.gating,
        recorded=[one for one in rows if one.state != PASSED],
        passed=frozenset(one.gate for one in rows if one.state == PASSED),
        complete=progress.phase,
        completed=state.completed(own),
        principal="" if request.shows_only else request.principal,
        system_identifier=session.facts.system_identifier,
        server_version=str(session.facts.version // 10000),
    )
    return tuple(gates_of(request.migration, facts))


def _until(
    session: Session, user: str, request: MigrationRequest, progress: Progress
) -> Phase | None:
    """Return the phase of a request; a rollback that goes on keeps that of the one before."""
    goes_on = progress.state in {State.ROLLING_BACK, State.ROLLBACK_FAILED}
    if request.until is None and request.action == "rollback" and goes_on:
        last = ledger.last_until(session, user, request.migration.id, "rollback")
        return Phase(last) if last else None
    return request.until


def plan_steps(planning: Planning, request: MigrationRequest) -> list[MigrationStep]:
    """Return the steps of a request. Raises MigrationError, also for another plan hash."""
    if request.action == "apply" and not request.shows_only:
        require_applicable(planning)
        require_open_gates(planning)
    make = _PLANS[request.action]
    found = plan_hash(planning, make(planning))
    if request.reviewed and request.reviewed != found:
        raise MigrationError(
            Cause.PLAN_CHANGED,
            f"the plan is {found} now, not {request.reviewed}: look at it again with "
            f"sereno migrate plan {request.migration.id}",
        )
    values = {
        "action": request.action,
        "environment": request.environment,
        "until": planning.until.value if planning.until else "",
        "plan_hash": found,
        "principal": request.principal,
        "reason": request.reason,
        "version": request.version,
    }
    return make(replace(planning, request=values))


def _require_untampered(session: Session, migration: str, progress: Progress) -> None:
    """Raise MigrationError while rows that the owner's code added to the ledger are still there."""
    if progress.state is not State.TAMPERED:
        return
    words = progress.reason.replace(",", " ").split()
    named = [
        (table.removeprefix("sereno."), int(ordinal))
        for table, ordinal in pairwise(words)
        if table.startswith("sereno.") and ordinal.isdigit()
    ]
    if rows := ledger.forged_rows_left(session, named):
        raise MigrationError(
            Cause.TAMPERED,
            f"{migration} is tampered: {progress.reason}. As an administrator, delete "
            f"{', '.join(rows[:10])} (by ordinal), after you examined the triggers of its tables",
        )


def _observe(inputs: JobInputs) -> list[MigrationStep]:
    request = _request(inputs)
    try:
        return plan_steps(read_planning(inputs.opened, request), request)
    except MigrationError as error:
        refused = TargetError(f"{inputs.database}: {error}")
        refused.cause = error.cause
        raise refused from None


def _recover(inputs: JobInputs, results: Sequence[tuple[Step, Outcome]]) -> Sequence[Step]:
    """Return the steps that undo the phase that failed, if that is safe without a person."""
    request = _request(inputs)
    failed = [
        (step, outcome)
        for step, outcome in results
        if outcome.status is Status.FAILED and isinstance(step, MigrationStep)
    ]
    if not failed or request.action != "apply":
        return []
    step, outcome = failed[0]
    phase = step.phase
    if phase not in UNDONE_ALONE or outcome.cause not in {Cause.ERROR, Cause.CHECK_FAILED}:
        return []
    planning = read_planning(inputs.opened, request)
    complete = planning.progress.phase
    if state.following(planning.migration, complete) is not phase or phase is None:
        return []
    if planning.migration.rollback(phase) is None:
        return []
    planning = replace(planning, ended=f"{step.name} {step.object}: {outcome.reason}")
    if state.half_done(planning.migration, planning.progress) is None:
        return [verify(planning, phase, last=True)]  # its transaction was rolled back
    return list(undo(planning, phase, last=True))


def _request(inputs: JobInputs) -> MigrationRequest:
    details = inputs.request.details if inputs.request is not None else None
    if not isinstance(details, MigrationRequest):
        raise TypeError("the job migrate runs at a person's request only")
    return details


def _judge(step: Step, outcome: Outcome, place: Place) -> Verdict:
    """Return the finding that a migration waits for people, or that it waits no longer.

    A failure is judged with the run as a whole.
    """
    if outcome.status is not Status.DONE or not isinstance(step, MigrationStep):
        return Verdict()
    migration = step.ref.migration
    if isinstance(step, BeginRun):
        return Verdict(coverage=(Coverage(MIGRATION_WAITING.name, place.database, migration),))
    if not isinstance(step, CheckPhase) or step.ends is not State.WAITING_GATE:
        return Verdict()
    identity = Identity(
        MIGRATION_WAITING.name, place.instance, place.cluster, place.database, migration, NAME
    )
    phase = step.completes.value if step.completes else ""
    summary = f"{migration} has completed {phase} and waits for people"
    remedy = f"sereno migrate plan {migration} --until PHASE shows the gates"
    return Verdict((Finding(identity, Severity.WARNING, summary, remedy=remedy),))


def _fence(
    session: Session, patience_seconds: float, stopped: Callable[[], bool]
) -> AbstractContextManager[None]:
    return migration_lock(session, migrate_user(session), patience_seconds, stopped)


JOB = Job(
    name=NAME,
    summary="Applies or rolls back a migration",
    scopes=(Scope.DATABASE,),
    observe=_observe,
    plan=lambda steps: steps,
    judge=_judge,
    deletes=True,
    ordered=True,
    on_request=True,
    fence=_fence,
    recover=_recover,
    alarm=Severity.CRITICAL,
)
