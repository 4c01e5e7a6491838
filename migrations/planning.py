"""The input of a plan, and the phases that a run goes through. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import takewhile

from domain.cause import Cause
from migrations.format import GATED, PHASES, Migration, Phase
from migrations.gates import Gate, closed_before
from migrations.ledger import RunRef
from migrations.state import ENDED, Progress, State, edited_files, following, half_done
from migrations.statements import TableLock
from migrations.steps.migration_step import MigrationError, Observe, unobserved
from migrations.steps.run_batches import FIRST_KEYS, MostKeys, unlimited


@dataclass(frozen=True, slots=True)
class Planning:
    """All that a plan is made of."""

    ref: RunRef
    migration: Migration
    progress: Progress
    request: Mapping[str, str] = field(default_factory=dict)
    """The values of the row in sereno.migration_run."""
    until: Phase | None = None
    """The last phase to apply, or the first to undo; None for the default."""
    others: Mapping[str, Progress] = field(default_factory=dict)
    """The other migrations of the database."""
    target: str = ""
    """The system identifier and database."""
    rehearsed: Mapping[str, Sequence[TableLock]] = field(default_factory=dict)
    """The locks that a rehearsal saw, by file."""
    budget_seconds: float = 600.0
    data_check_due: bool = True
    """Whether the check of `data` is too old to build on."""
    ended: str = ""
    """Why a phase is undone without being asked for."""
    accepts: bool = False
    """Whether a person accepts that the catalog differs after a rollback."""
    recorded: Mapping[str, datetime] = field(default_factory=dict)
    """When the catalog was recorded before each phase that was applied."""
    through_gates: bool = False
    """Whether gates are open: in a rehearsal."""
    gates: tuple[Gate, ...] = ()
    """The gates of this environment; empty on the first rung."""
    observe: Observe = unobserved
    first_keys: int = FIRST_KEYS
    most_keys: MostKeys = unlimited


def phases_to_apply(planning: Planning) -> list[Phase]:
    """Return the phases of a run. Raises MigrationError with the reason why there are none."""
    found, last = _phases_left(planning), planning.until
    if planning.through_gates:
        return found
    free = list(takewhile(lambda one: one not in GATED, found))
    wanted = free if last is None else found
    if wanted and (wanted == free or found == [last]):
        return wanted
    gated = next(one for one in found if one in GATED)
    first = f"first apply until {free[-1].value}" if free else f"name it: --until {gated.value}"
    raise MigrationError(Cause.GATE_CLOSED, f"{gated.value} waits for a person: {first}")


def require_open_gates(planning: Planning) -> None:
    """Raise MigrationError with the missing evidence if a gate of the phases to apply is closed."""
    if closed := closed_before(planning.gates, phases_to_apply(planning)):
        missing = "\n".join(f"  {one.name}: {one.missing}" for one in closed)
        raise MigrationError(
            Cause.GATE_CLOSED, f"{planning.migration.id} waits at closed gates\n{missing}"
        )


def _phases_left(planning: Planning) -> list[Phase]:
    """Return the phases that are not complete, up to the last that is wanted."""
    migration, progress, last = planning.migration, planning.progress, planning.until
    after = following(migration, progress.phase)
    if after is None or (progress.state in ENDED and last is None):
        raise MigrationError(Cause.REFUSED, f"{migration.id} is {progress.state.value} already")
    known = migration.phases()
    if last is None:
        return known[known.index(after) :]
    if last not in known:
        raise MigrationError(Cause.REFUSED, f"{migration.id} has no phase {last.value}")
    if found := known[known.index(after) : known.index(last) + 1]:
        return found
    raise MigrationError(Cause.REFUSED, f"{last.value} is complete already")


def require_applicable(planning: Planning) -> None:
    """Raise MigrationError if the migration may not be applied in its state."""
    migration, progress = planning.migration, planning.progress
    if progress.state in {State.ROLLING_BACK, State.ROLLBACK_FAILED}:
        command = f"sereno migrate rollback {migration.id}"
        raise MigrationError(
            Cause.REFUSED, f"{migration.id} is {progress.state.value}: {progress.reason}; {command}"
        )
    if edited := edited_files(migration, progress):
        raise MigrationError(
            Cause.PLAN_CHANGED,
            f"{edited[0]} was edited or added after its phase was applied; put it back as it was, "
            "or roll back first (comments and blanks do not count)",
        )
    require_others(migration, planning.others)


def require_others(migration: Migration, others: Mapping[str, Progress]) -> None:
    """Raise MigrationError if a required migration is not applied up to a gate."""
    for one in migration.manifest.requires:
        other = others.get(one, Progress())
        if other.state not in ENDED | {State.WAITING_GATE}:
            raise MigrationError(
                Cause.REFUSED, f"{migration.id} requires {one}, which is {other.state.value}"
            )


def phases_to_undo(planning: Planning) -> list[Phase]:
    """Return the phases that have begun, the last one first, down to `until`."""
    migration, progress = planning.migration, planning.progress
    done = PHASES.index(progress.phase) if progress.phase else -1
    begun = [one for one in migration.phases() if PHASES.index(one) <= done]
    if half := half_done(migration, progress):
        begun.append(half)
    if planning.until is not None:
        begun = [one for one in begun if PHASES.index(one) >= PHASES.index(planning.until)]
    if not begun and progress.state not in {State.ROLLING_BACK, State.ROLLBACK_FAILED}:
        raise MigrationError(Cause.REFUSED, f"{migration.id}: there is nothing to undo")
    _require_last(planning, begun)
    for phase in begun:
        if migration.rollback(phase) is None:
            raise MigrationError(
                Cause.REFUSED, f"{phase.value} is irreversible: restore a backup instead"
            )
    return begun[::-1]


def _require_last(planning: Planning, phases: Sequence[Phase]) -> None:
    """Raise MigrationError if another migration changed the catalog since the first phase to undo.

    The catalog could not be compared with the one from before it.
    """
    since = min(
        (planning.recorded[one.value] for one in phases if one.value in planning.recorded),
        default=None,
    )
    if since is None or planning.accepts:
        return
    for name, other in planning.others.items():
        changed = other.since is not None and other.since > since
        if name != planning.migration.id and changed and other.phase is not None:
            raise MigrationError(
                Cause.REFUSED,
                f"{name} was applied after {planning.migration.id}: roll it back first, or accept "
                "with --accept that the catalog is not compared",
            )
