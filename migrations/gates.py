"""The gates before the first phase, before cleanup and before purge. Pure.

The first environment of the ladder has none. A gate is open by evidence, by an attestation of a
person, by an approval, or by a waiver, which needs a reason. All are bound to the checksum and
count only since the last rollback.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from domain.units import format_seconds
from migrations.format import GATED, PHASES, Migration, Phase

if TYPE_CHECKING:
    from migrations.evidence import Evidence

APPROVED, WAIVED, PASSED = "approved", "waived", "passed"
LOCAL = "local"
"""The principal of a command line without --as."""
SKEW = timedelta(minutes=5)
"""How far the clock of another environment may be ahead."""
FIRST = "begin"
"""The name of the gates before the first phase."""


class GateKind(StrEnum):
    """The way in which a gate opens."""

    REHEARSAL = "rehearsal"
    RUNG = "rung"
    SOAK = "soak"
    APPROVAL = "approval"
    ATTESTED = "attested"


ATTESTED: Mapping[str, Mapping[str, str]] = {
    FIRST: {
        "backup": "there is a backup of today, and it was restored for a test",
        "window": "the maintenance window was announced",
        "support": "people who can help are at hand",
    },
    Phase.CLEANUP: {"old-application": "no old version of the application runs any more"},
    Phase.PURGE: {"backup": "a backup from before purge is kept"},
}
"""The attestations of the last rung, by the phase that they guard."""


@dataclass(frozen=True, slots=True)
class Gate:
    """One gate: the phase that it guards, and the missing evidence."""

    name: str
    """Like `cleanup.approval`."""
    kind: GateKind
    missing: str = ""
    """The missing evidence, and the command that provides it; empty if it is open."""
    evidence: str = ""
    """Why it is open."""
    waived: bool = False
    approved_by: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        """Return closed, open or waived."""
        if self.waived:
            return "waived"
        return "closed" if self.missing else "open"

    @property
    def guards(self) -> str:
        """Return `begin`, `cleanup` or `purge`."""
        return self.name.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Recorded:
    """A row of the ledger about a gate."""

    gate: str
    state: str
    principal: str
    note: str
    written_at: datetime


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """The last rehearsal of a checksum in this environment."""

    ok: bool
    embedded: bool
    at: datetime


@dataclass(frozen=True, slots=True)
class GateFacts:
    """All that the state of the gates depends on."""

    environment: str
    ladder: tuple[str, ...]
    now: datetime
    soak: timedelta = timedelta()
    evidence_age: timedelta = timedelta(days=14)
    rehearsed: Rehearsed | None = None
    lower: "Evidence | None" = None
    """The verified evidence of the rung below."""
    lower_problem: str = ""
    """Why there is none."""
    recorded: Sequence[Recorded] = ()
    """Of this checksum and environment, since the last rollback."""
    passed: frozenset[str] = frozenset()
    """The gates that an earlier run of this checksum has passed, since the last rollback."""
    complete: Phase | None = None
    """The last complete phase; its gates and earlier ones are behind it."""
    completed: Mapping[Phase, datetime] = field(default_factory=dict)
    """When each phase became complete, since the last rollback."""
    principal: str = ""
    """The one that applies; empty if nobody does yet."""
    has_principals: bool = False
    """Whether principals are configured, so that people are told apart."""
    system_identifier: str = ""
    server_version: str = ""

    @property
    def lower_rung(self) -> str:
        """Return the environment below; empty for the first."""
        place = self.ladder.index(self.environment)
        return self.ladder[place - 1] if place else ""


def gates_of(migration: Migration, facts: GateFacts) -> list[Gate]:
    """Return the gates that are still ahead in this environment, in the order of phases."""
    found: list[Gate] = []
    if not facts.lower_rung:
        return found
    left = _left(migration, facts)
    if (left and left[0] not in GATED) or facts.complete is None:
        found.append(_rehearsal(migration, facts))
        found += _guarding(FIRST, migration, facts)
    for phase in left:
        if phase in GATED:
            found += _guarding(phase, migration, facts)
    return [_decided(one, facts) for one in found]


def _left(migration: Migration, facts: GateFacts) -> list[Phase]:
    done = PHASES.index(facts.complete) if facts.complete else -1
    return [one for one in migration.phases() if PHASES.index(one) > done]


def before(gates: Sequence[Gate], phases: Sequence[Phase]) -> list[Gate]:
    """Return the gates that guard any of some phases that are to be applied now."""
    guards = {FIRST} | {phase.value for phase in phases}
    return [one for one in gates if one.guards in guards]


def closed_before(gates: Sequence[Gate], phases: Sequence[Phase]) -> list[Gate]:
    """Return the closed gates that guard any of some phases that are to be applied now."""
    return [one for one in before(gates, phases) if one.state == "closed"]


def _guarding(phase: str, migration: Migration, facts: GateFacts) -> Iterator[Gate]:
    yield _rung(phase, migration, facts)
    if phase != FIRST:
        yield _soak(Phase(phase), migration, facts)
    if facts.environment == facts.ladder[-1]:
        for name, meaning in ATTESTED.get(phase, {}).items():
            yield _attested(f"{phase}.{name}", meaning, migration, facts)
    if phase != FIRST:
        yield _approval(phase, migration, facts)


def _rehearsal(migration: Migration, facts: GateFacts) -> Gate:
    found, command = facts.rehearsed, f"sereno migrate rehearse {migration.id}"
    missing, evidence = "", ""
    if found is None:
        missing = f"not rehearsed with this checksum: {command}"
    elif found.embedded:
        missing = f"it was rehearsed on an embedded server only: {command}"
    elif not found.ok:
        missing = f"its rehearsal found problems: sereno migrate evidence {migration.id}"
    elif facts.now - found.at > facts.evidence_age:
        missing = f"its rehearsal is {_span(facts.now - found.at)} old: {command}"
    else:
        evidence = f"rehearsed at {found.at.isoformat(timespec='seconds')}"
    return Gate(f"{FIRST}.rehearsal", GateKind.REHEARSAL, missing, evidence)


def _rung(phase: str, migration: Migration, facts: GateFacts) -> Gate:
    """Return the gate that the rung below has passed the same phases with the same checksum."""
    name, below = f"{phase}.rung", facts.lower_rung
    needed = Phase(phase) if phase != FIRST else _last_free(migration)
    found = facts.lower
    if found is None:
        return Gate(name, GateKind.RUNG, facts.lower_problem or f"no evidence of {below}")
    missing = next(_wrong_evidence(found, needed, migration, facts), "")
    if missing:
        return Gate(name, GateKind.RUNG, f"the evidence of {below} {missing}")
    evidence = f"{below} has completed {found.phase}, signed at {found.at}"
    return Gate(name, GateKind.RUNG, evidence=evidence)


def _wrong_evidence(
    found: "Evidence", needed: Phase, migration: Migration, facts: GateFacts
) -> Iterator[str]:
    if (found.migration, found.rung) != (migration.id, facts.lower_rung):
        yield f"is of {found.migration} in {found.rung}"
    if found.checksum != migration.checksum:
        yield "is of another version of the files (a comment does not count, a literal does)"
    if found.system_identifier == facts.system_identifier:
        yield "comes from this very server"
    if found.server_version != facts.server_version:
        yield f"is of PostgreSQL {found.server_version}, this is {facts.server_version}"
    yield from _wrong_times(found, needed, facts)
    known = [one.value for one in PHASES]
    if found.phase not in known or known.index(found.phase) < known.index(needed.value):
        yield f"ends with {found.phase or 'nothing'}: first apply {needed.value} there"
    if migration.rollback(needed) is not None and needed.value not in found.round_trips:
        yield f"has no rehearsal that was rolled back from {needed.value}"


def _wrong_times(found: "Evidence", needed: Phase, facts: GateFacts) -> Iterator[str]:
    """Yield each time that is too old; that of the rehearsal counts only at the beginning."""
    times = [("signed", found.signed_at)]
    if needed not in GATED:
        times.append(("rehearsed", found.rehearsed))
    for word, at in times:
        age = facts.now - at
        if age > facts.evidence_age or age < -SKEW:
            yield f"was {word} at {at}; it may be {_span(facts.evidence_age)} old"


def _soak(phase: Phase, migration: Migration, facts: GateFacts) -> Gate:
    name, before = f"{phase.value}.soak", migration.before(phase)
    since = facts.completed.get(before) if before else None
    if before is None:
        return Gate(name, GateKind.SOAK, evidence="no phase comes before it")
    if since is None:
        return Gate(name, GateKind.SOAK, f"{before.value} is not complete")
    left = since + facts.soak - facts.now
    if left > timedelta():
        return Gate(name, GateKind.SOAK, f"{_span(left)} left since {before.value} is complete")
    return Gate(name, GateKind.SOAK, evidence=f"{before.value} is complete since {since}")


def _attested(name: str, meaning: str, migration: Migration, facts: GateFacts) -> Gate:
    found = [one for one in facts.recorded if one.gate == name and one.state == APPROVED]
    if found:
        return Gate(name, GateKind.ATTESTED, evidence=f"{found[-1].principal}: {found[-1].note}")
    command = f"sereno migrate approve {migration.id} --gate {name} --note TEXT"
    return Gate(name, GateKind.ATTESTED, f"nobody has attested: {meaning}: {command}")


def _approval(phase: str, migration: Migration, facts: GateFacts) -> Gate:
    """Return the gate of two people: one approves, another applies."""
    name = f"{phase}.approval"
    approvals = [one for one in facts.recorded if (one.gate, one.state) == (name, APPROVED)]
    unnamed = {LOCAL} if facts.has_principals else set()
    who = sorted({one.principal for one in approvals} - unnamed)
    if not who:
        command = f"sereno migrate approve {migration.id} --gate {name}"
        return Gate(name, GateKind.APPROVAL, f"nobody has approved it: {command}")
    if facts.principal == LOCAL and facts.has_principals:
        missing = "say who applies it: --as NAME"
    elif who == [facts.principal]:
        missing = f"{facts.principal} approved it and applies it: a second person is needed"
    else:
        missing = ""
    evidence = "" if missing else f"approved by {', '.join(who)}; another person applies it"
    return Gate(name, GateKind.APPROVAL, missing, evidence, approved_by=tuple(who))


def _decided(gate: Gate, facts: GateFacts) -> Gate:
    """Return a gate that is closed as passed before or waived, if the ledger says so.

    With principals, the waiver of an approval is no second person for the one that gave it.
    """
    if not gate.missing:
        return gate
    if gate.guards == FIRST and gate.name in facts.passed:
        return Gate(gate.name, gate.kind, evidence="passed when the migration began")
    found = [one for one in facts.recorded if (one.gate, one.state) == (gate.name, WAIVED)]
    if gate.kind is GateKind.APPROVAL and facts.has_principals:
        named = [one for one in found if one.principal != LOCAL]
        return _waived_approval(gate, named, facts) if named else gate
    return _waived(gate, found[-1]) if found else gate


def _waived(gate: Gate, by: Recorded) -> Gate:
    return Gate(gate.name, gate.kind, "", f"waived by {by.principal}: {by.note}", waived=True)


def _waived_approval(gate: Gate, found: Sequence[Recorded], facts: GateFacts) -> Gate:
    """Return the gate; the one that waived it, or an unnamed one, may not pass it."""
    if facts.principal in {LOCAL, *(one.principal for one in found)}:
        return replace(gate, missing="it was waived: another person has to apply it, --as NAME")
    return _waived(gate, found[-1])


def _last_free(migration: Migration) -> Phase:
    """Return the last phase that needs no gate of its own; the first if each has one."""
    phases = migration.phases()
    return next((one for one in reversed(phases) if one not in GATED), phases[0])


def _span(span: timedelta) -> str:
    return format_seconds(span.total_seconds())
