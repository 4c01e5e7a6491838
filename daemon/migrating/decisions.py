"""Decisions about gates: approvals, attestations, waivers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from daemon.context import Context
from daemon.migrating.requests import planning_of
from domain.cause import Cause
from domain.finding import Finding, Identity, Severity
from domain.kinds import GATE_WAIVED
from migrations import gate_ledger
from migrations.gates import APPROVED, LOCAL, WAIVED, Gate, GateKind
from migrations.migrate import NAME
from migrations.steps.migration_step import MigrationError
from postgres.session import MIGRATE, open_session


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision of a person about a gate."""

    gate: str
    """Empty for the approval of the next phase."""
    principal: str
    note: str
    waives: bool = False


def decided_gate(gates: Sequence[Gate], decision: Decision) -> Gate:
    """Return the gate of a decision. Raises MigrationError if it cannot be decided so."""
    if not decision.gate:
        return _next_approval(gates)
    found = next((one for one in gates if one.name == decision.gate), None)
    if found is None:
        known = ", ".join(one.name for one in gates) or "none in this environment"
        raise MigrationError(Cause.REFUSED, f"unknown gate {decision.gate!r}; known: {known}")
    if not decision.waives and found.kind not in {GateKind.APPROVAL, GateKind.ATTESTED}:
        if not found.missing:
            raise MigrationError(Cause.REFUSED, f"{found.name} is {found.state}: nothing is to do")
        raise MigrationError(
            Cause.REFUSED,
            f"{found.name} is not opened by a person: {found.missing}; a waiver passes it: "
            f"sereno migrate waive ID {found.name} --reason TEXT",
        )
    return found


def _next_approval(gates: Sequence[Gate]) -> Gate:
    """Return the approval of the next phase, also if it has one: a second person adds to it."""
    approvals = [one for one in gates if one.kind is GateKind.APPROVAL]
    if not approvals:
        raise MigrationError(Cause.REFUSED, "no phase waits for an approval")
    return approvals[0]


def record_decision(context: Context, database: str, migration: str, decision: Decision) -> Gate:
    """Record an approval, an attestation or a waiver; return its gate.

    A waiver is an alert. Raises MigrationError, TargetError.
    """
    known = planning_of(context, database, migration)
    gate = decided_gate(known.gates, decision)
    if decision.principal == LOCAL and context.config.web.principals:
        raise MigrationError(Cause.REFUSED, f"say who decides about {gate.name}: --as NAME")
    _require_noted(gate, decision)
    _require_new(gate, decision)
    target = context.target(database)
    row = {
        "gate": gate.name,
        "state": WAIVED if decision.waives else APPROVED,
        "principal": decision.principal,
        "note": decision.note,
    }
    with open_session(target, MIGRATE, NAME) as session, session.transaction():
        gate_ledger.add_gate(session, known.ref, context.config.migrations.environment, row)
    if decision.waives:
        context.process_findings([_waived(context, database, migration, row)])
    return gate


def _require_noted(gate: Gate, decision: Decision) -> None:
    """Raise MigrationError for an attestation or a waiver that says nothing."""
    if decision.note.strip() or (gate.kind is GateKind.APPROVAL and not decision.waives):
        return
    option = "--reason" if decision.waives else "--note"
    raise MigrationError(Cause.REFUSED, f"{gate.name}: {option} is empty: say what was done")


def _require_new(gate: Gate, decision: Decision) -> None:
    """Raise MigrationError for a second approval by one person, or a waiver of an open gate."""
    alone = gate.approved_by == (decision.principal,)  # nobody else could apply it
    if decision.waives and not gate.missing and not alone:
        raise MigrationError(Cause.REFUSED, f"{gate.name} is {gate.state}: nothing is to waive")
    if gate.kind is GateKind.APPROVAL and decision.principal in gate.approved_by:
        raise MigrationError(
            Cause.REFUSED,
            f"{decision.principal} has approved {gate.name} already: a second person is needed",
        )


def _waived(context: Context, database: str, migration: str, row: Mapping[str, str]) -> Finding:
    identity = Identity(
        GATE_WAIVED.name,
        context.config.daemon.name,
        database=database,
        object=f"{migration} {row['gate']}",
        task=NAME,
    )
    summary = f"{row['principal']} waived {row['gate']} of {migration}: {row['note']}"
    return Finding(identity, Severity.WARNING, summary, remedy=GATE_WAIVED.action)
