"""The plan of a run: its steps in order, and the hash that a person reviews. Pure."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace

from domain.cause import Cause
from migrations.format import GATED, PHASES, Kind, Phase, Query, SqlFile, digest
from migrations.gates import Gate, before
from migrations.planning import Planning, phases_to_apply, phases_to_undo, require_applicable
from migrations.state import Batch, State, ends_in, following, half_done
from migrations.statement_locks import STRENGTH
from migrations.statements import TableLock
from migrations.steps.begin import BeginPhase, BeginRun
from migrations.steps.check_phase import CheckPhase
from migrations.steps.lock_tables import locks_of, strongest
from migrations.steps.migration_step import MigrationError, MigrationStep
from migrations.steps.roll_back import RollBackPhase
from migrations.steps.run_batches import RunBatches
from migrations.steps.run_file import RunFile
from migrations.steps.run_statements import RunStatements


def plan_apply(planning: Planning) -> list[MigrationStep]:
    """Return the steps of an apply. Raises MigrationError."""
    require_applicable(planning)
    phases = phases_to_apply(planning)
    steps: list[MigrationStep] = [begin_run(planning, passes=passed_gates(planning, phases))]
    started = half_done(planning.migration, planning.progress)
    complete = planning.progress.phase
    pre = planning.migration.check(None)
    if pre is not None and complete is None and started is None:
        steps.append(check(planning, None, pre, complete))
    for phase in phases:
        if phase is not started:
            steps.append(_begin_phase(planning, phase, complete))
        if complete not in phases:  # otherwise its check has just run
            steps += _barrier(planning, phase, complete)
        steps += [_work(planning, phase, file, complete) for file in left(planning, phase)]
        state = ends_in(planning.migration, phase) if phase is phases[-1] else State.RUNNING
        checked = planning.migration.check(phase)
        if checked is not None:
            steps.append(check(planning, phase, checked, phase, ends=state))
        complete = phase
    return steps


def plan_adopt(planning: Planning) -> list[MigrationStep]:
    """Return the steps that record phases as applied by other means. Raises MigrationError."""
    migration, last = planning.migration, planning.until
    if planning.progress.state not in {State.PENDING, State.ROLLED_BACK, State.FAILED}:
        raise MigrationError(
            Cause.REFUSED, f"{migration.id} is {planning.progress.state.value} already"
        )
    if last is None or last not in migration.phases():
        known = ", ".join(one.value for one in migration.phases())
        raise MigrationError(Cause.REFUSED, f"{migration.id} has the phases {known}")
    phases = migration.phases()[: migration.phases().index(last) + 1]
    files = [file for phase in phases for file in migration.work(phase)]
    begin = begin_run(planning, ends_in(migration, last))
    checked = migration.check(last)
    steps: list[MigrationStep] = [check(planning, last, checked, None)] if checked else []
    return [*steps, replace(begin, complete=last, adopted=tuple(files))]


def plan_rollback(planning: Planning) -> list[MigrationStep]:
    """Return the steps that undo phases, the last one first. Raises MigrationError."""
    phases = phases_to_undo(planning)
    steps: list[MigrationStep] = [begin_run(planning, State.ROLLING_BACK)]
    if not phases:  # undone before, and not verified
        after = following(planning.migration, planning.progress.phase)
        return [*steps, *([verify(planning, after, last=True)] if after else [])]
    for phase in phases:
        steps += undo(planning, phase, last=phase is phases[-1])
    return steps


def undo(planning: Planning, phase: Phase, *, last: bool) -> Iterator[MigrationStep]:
    """Yield the steps that undo one phase and verify it."""
    migration = planning.migration
    file = migration.rollback(phase)
    if file is None:
        raise MigrationError(Cause.REFUSED, f"{phase.value} is irreversible")
    before = migration.before(phase)
    shared = {"ref": planning.ref, "phase": phase, "complete": before}
    if file.kind is Kind.ROLLBACK_NOTX:
        yield RunStatements(
            object=file.name,
            file=file,
            budget_seconds=planning.budget_seconds,
            records=False,
            failure=State.ROLLBACK_FAILED,
            observe=planning.observe,
            name="roll back",
            interrupted=State.ROLLING_BACK,
            lock=strongest_mode(locks_of(file.statements)),
            ref=planning.ref,
            phase=phase,
            complete=before,
        )
    transactional = file if file.kind is Kind.ROLLBACK else None
    locks = _locks(planning, file) if transactional else ()
    yield RollBackPhase(
        object=file.name if transactional else phase.value,
        name="roll back" if transactional else "record",
        file=transactional,
        undone=tuple(migration.work(phase)),
        archived=tuple(migration.archived()),
        locks=locks,
        lock=strongest_mode(locks),
        budget_seconds=planning.budget_seconds,
        observe=planning.observe,
        interrupted=State.ROLLING_BACK,
        **shared,  # type: ignore[arg-type]
    )
    yield verify(planning, phase, last=last)


def verify(planning: Planning, phase: Phase, *, last: bool) -> CheckPhase:
    """Return the step that verifies that a phase is undone: checks and catalog of before."""
    before = planning.migration.before(phase)
    checked = planning.migration.check(before)
    return CheckPhase(
        object=f"after the rollback of {phase.value}",
        ref=planning.ref,
        phase=before,
        complete=before,
        interrupted=State.ROLLING_BACK,
        queries=checked.violations if checked else (),
        undone=None if planning.accepts else phase,
        ends=State.ROLLED_BACK if last else None,
        ended=f"{phase.value} was rolled back"
        + (f", because of {planning.ended}" if planning.ended else ""),
        failure=State.ROLLBACK_FAILED,
    )


def passed_gates(planning: Planning, phases: Sequence[Phase]) -> tuple[Gate, ...]:
    """Return the gates that a run passes."""
    return tuple(one for one in before(planning.gates, phases) if one.state != "closed")


def begin_run(
    planning: Planning, state: State = State.RUNNING, passes: tuple[Gate, ...] = ()
) -> BeginRun:
    """Return the step that records the run and the gates that it passes."""
    return BeginRun(
        object=planning.migration.id,
        ref=planning.ref,
        phase=None,
        complete=planning.progress.phase,
        migration=planning.migration,
        request=planning.request,
        state=state,
        gates=passes,
        interrupted=State.ROLLING_BACK if state is State.ROLLING_BACK else State.PAUSED,
    )


def check(
    planning: Planning,
    phase: Phase | None,
    file: SqlFile,
    complete: Phase | None,
    ends: State | None = None,
) -> CheckPhase:
    """Return the step of one check file."""
    return CheckPhase(
        object=file.name,
        ref=planning.ref,
        phase=phase,
        complete=complete if ends is None else planning.migration.before(complete or PHASES[0]),
        queries=file.queries,
        ends=ends,
        completes=phase if ends is not None else None,
    )


def left(planning: Planning, phase: Phase) -> list[SqlFile]:
    """Return the files of a phase that are not done."""
    return [
        one for one in planning.migration.work(phase) if not planning.progress.is_done(one.name)
    ]


def _begin_phase(planning: Planning, phase: Phase, complete: Phase | None) -> BeginPhase:
    checked = planning.migration.check(phase)
    return BeginPhase(
        object=phase.value,
        ref=planning.ref,
        phase=phase,
        complete=complete,
        same=tuple(one for one in checked.queries if one.same) if checked else (),
    )


def _barrier(planning: Planning, phase: Phase, complete: Phase | None) -> list[MigrationStep]:
    """Return the check of an earlier phase that the next one builds on."""
    builds_on = complete if phase in GATED else None
    if phase is Phase.TIGHTEN and planning.data_check_due:
        builds_on = Phase.DATA
    file = planning.migration.check(builds_on) if builds_on else None
    if file is None:
        return []
    return [replace(check(planning, builds_on, file, complete), queries=file.violations)]


def _work(planning: Planning, phase: Phase, file: SqlFile, complete: Phase | None) -> MigrationStep:
    if file.kind is Kind.BATCH:
        return _batches(planning, phase, file, complete)
    if file.kind is Kind.NOTX:
        return _statements(planning, phase, file, complete)
    locks = _locks(planning, file)
    before, after = _inside(planning, phase, file)
    return RunFile(
        object=file.name,
        ref=planning.ref,
        phase=phase,
        complete=complete,
        file=file,
        locks=locks,
        lock=strongest_mode(locks),
        budget_seconds=planning.budget_seconds,
        queries_before=before,
        queries_after=after,
        observe=planning.observe,
    )


def _inside(
    planning: Planning, phase: Phase, file: SqlFile
) -> tuple[tuple[Query, ...], tuple[Query, ...]]:
    """Return the checks that a file of a gated phase runs in its transaction.

    Those of the phase itself before the last COMMIT; before the first statement of purge, which
    cannot be undone, those of the phase before.
    """
    if phase not in GATED:
        return (), ()
    files = [one for one in planning.migration.work(phase) if one.kind is Kind.TRANSACTION]
    before = planning.migration.check(planning.migration.before(phase))
    own = planning.migration.check(phase)
    is_first = phase is Phase.PURGE and planning.migration.work(phase)[0].name == file.name
    is_last = planning.migration.work(phase)[-1].name == file.name and files[-1].name == file.name
    first = before.violations if before is not None and is_first else ()
    last = own.violations if own is not None and is_last else ()
    return _repeated(first), _repeated(last)


def _repeated(queries: Sequence[Query]) -> tuple[Query, ...]:
    """Return the checks that are repeated under the locks."""
    return tuple(one for one in queries if not one.once)


def _statements(
    planning: Planning, phase: Phase, file: SqlFile, complete: Phase | None
) -> RunStatements:
    return RunStatements(
        object=file.name,
        ref=planning.ref,
        phase=phase,
        complete=complete,
        file=file,
        lock=strongest_mode(locks_of(file.statements)),
        budget_seconds=planning.budget_seconds,
        observe=planning.observe,
    )


def _batches(planning: Planning, phase: Phase, file: SqlFile, complete: Phase | None) -> RunBatches:
    known = planning.progress.batches.get(file.name, Batch("", None, 0))
    return RunBatches(
        object=file.name,
        ref=planning.ref,
        phase=phase,
        complete=complete,
        file=file,
        options=planning.migration.manifest.steps[file.name],
        last=known.hi,
        rows_before=known.done,
        budget_seconds=planning.budget_seconds,
        first_keys=planning.first_keys,
        most_keys=planning.most_keys,
        lock="ROW EXCLUSIVE",
        observe=planning.observe,
    )


def _locks(planning: Planning, file: SqlFile) -> tuple[TableLock, ...]:
    seen = planning.rehearsed.get(file.name, ())
    return tuple(strongest([*seen, *locks_of(file.statements)]))


def strongest_mode(locks: Sequence[TableLock]) -> str:
    """Return the strongest of some locks; empty without any."""
    return max((one.mode for one in locks), key=STRENGTH.index, default="")


def plan_hash(planning: Planning, steps: Sequence[MigrationStep]) -> str:
    """Return the hash of the reviewed parts: files, phases, target and locks."""
    parts = {
        "migration": [planning.migration.id, planning.migration.checksum],
        "target": planning.target,
        "role": planning.ref.role,
        # a check that is due again is no other plan
        "steps": [[one.name, one.object, one.lock] for one in steps if one.name != "check"],
        "locks": {
            one.object: [[lock.schema, lock.table, lock.mode] for lock in one.locks]
            for one in steps
            if isinstance(one, RunFile | RollBackPhase)
        },
    }
    return digest(json.dumps(parts, sort_keys=True))[:16]
