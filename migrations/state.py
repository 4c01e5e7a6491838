"""The state of a migration, derived from the rows of its ledger. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from migrations.format import PHASES, Migration, Phase


class State(StrEnum):
    """The states of a migration; each names the command that leads on."""

    PENDING = "pending"
    RUNNING = "running"
    WAITING_GATE = "waiting_gate"
    PAUSED = "paused"
    FAILED = "failed"
    DONE = "done"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    ROLLBACK_FAILED = "rollback_failed"
    PURGED = "purged"
    TAMPERED = "tampered"


ENDED = frozenset({State.DONE, State.PURGED})
_NEXT = {
    State.PENDING: "sereno migrate plan {id}",
    State.RUNNING: "sereno migrate resume {id}, if nothing runs",
    State.WAITING_GATE: "sereno migrate plan {id} --until {next}",
    State.PAUSED: "sereno migrate resume {id}",
    State.FAILED: "correct what the reason names, then sereno migrate resume {id}; or sereno "
    "migrate rollback {id}",
    State.DONE: "nothing is left to do; to undo it: sereno migrate rollback {id}",
    State.ROLLING_BACK: "sereno migrate rollback {id}",
    State.ROLLED_BACK: "sereno migrate plan {id}, to apply it again",
    State.ROLLBACK_FAILED: "correct what the reason names, then sereno migrate rollback {id}; "
    "--accept takes the catalog as it is",
    State.PURGED: "nothing is left to do",
    State.TAMPERED: "examine the triggers of the tables, delete the rows named as an "
    "administrator, then sereno migrate resume {id}",
}


@dataclass(frozen=True, slots=True)
class Event:
    """One row of sereno.migration."""

    migration: str
    title: str
    type: str
    checksum: str
    phase: str
    state: str
    run: str
    reason: str
    written_at: datetime


@dataclass(frozen=True, slots=True)
class StepRow:
    """The last row of a statement of a file; statement 0 is the whole file."""

    phase: Phase | None
    file: str
    checksum: str
    statement: int
    state: str
    """begun, done, failed or undone."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The progress of the walk of a batch file."""

    checksum: str
    hi: str | None
    """The last key that is done; None at the beginning."""
    done: int


@dataclass(frozen=True, slots=True)
class Progress:
    """What the ledger knows of one migration."""

    state: State = State.PENDING
    phase: Phase | None = None
    """The last complete phase."""
    checksum: str = ""
    reason: str = ""
    run: str = ""
    title: str = ""
    since: datetime | None = None
    steps: Sequence[StepRow] = ()
    batches: Mapping[str, Batch] = field(default_factory=dict)

    def is_done(self, file: str, statement: int = 0) -> bool:
        """Return whether a file, or one of its statements, is done."""
        return any(
            one.file == file and one.statement == statement and one.state == "done"
            for one in self.steps
        )

    def begun(self) -> list[str]:
        """Return the files of which something is done or was begun."""
        moved = {name for name, one in self.batches.items() if one.hi is not None}
        moved |= {one.file for one in self.steps if one.state in {"begun", "done"}}
        return sorted(moved)

    def next_command(self, migration: str, following: Phase | None) -> str:
        """Return the command that leads out of the state."""
        after = following.value if following else "purge"
        return _NEXT[self.state].format(id=migration, next=after)


def current(events: Iterable[Event]) -> dict[str, Progress]:
    """Return the progress of each migration by its last event, without steps and batches."""
    found: dict[str, Progress] = {}
    for event in events:
        found[event.migration] = Progress(
            state=State(event.state),
            phase=Phase(event.phase) if event.phase else None,
            checksum=event.checksum,
            reason=event.reason,
            run=event.run,
            title=event.title,
            since=event.written_at,
        )
    return found


def since_rollback(events: Sequence[Event]) -> Sequence[Event]:
    """Return the events of one migration from its last rollback on, that one included."""
    undone = [n for n, one in enumerate(events) if one.state == State.ROLLED_BACK]
    return events[undone[-1] :] if undone else events


def completed(events: Iterable[Event]) -> dict[Phase, datetime]:
    """Return when each phase was first seen complete."""
    found: dict[Phase, datetime] = {}
    for event in events:
        if event.phase:
            for phase in PHASES[: PHASES.index(Phase(event.phase)) + 1]:
                found.setdefault(phase, event.written_at)
    return found


def following(migration: Migration, phase: Phase | None) -> Phase | None:
    """Return the phase after the last complete one; None after the last."""
    done = PHASES.index(phase) if phase else -1
    later = [one for one in migration.phases() if PHASES.index(one) > done]
    return later[0] if later else None


def edited_files(migration: Migration, progress: Progress) -> list[str]:
    """Return the files that were applied and have another text now, or were added too late.

    One that failed, or was rolled back, may be edited.
    """
    applied = {one.file: one.checksum for one in progress.steps if one.state in {"done", "begun"}}
    applied |= {name: one.checksum for name, one in progress.batches.items() if one.hi is not None}
    edited = {
        name
        for name, checksum in applied.items()
        if name not in migration.files or migration.files[name].checksum != checksum
    }
    done = PHASES[: PHASES.index(progress.phase) + 1] if progress.phase else ()
    added = {
        file.name
        for phase in done
        for file in migration.work(phase)
        if not progress.is_done(file.name)
    }
    return sorted(edited | added)


def half_done(migration: Migration, progress: Progress) -> Phase | None:
    """Return the phase that has begun and is not complete; None if there is none."""
    after = following(migration, progress.phase)
    if after is None:
        return None
    names = {one.name for one in migration.work(after)}
    return after if names & set(progress.begun()) else None


def ends_in(migration: Migration, phase: Phase) -> State:
    """Return the state after the last planned phase."""
    left = following(migration, phase)
    if phase is Phase.PURGE:
        return State.PURGED
    if left is None:
        return State.DONE
    return State.WAITING_GATE if left in {Phase.CLEANUP, Phase.PURGE} else State.PAUSED
