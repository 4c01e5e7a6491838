"""Plans and gates as values of JSON."""

from collections.abc import Mapping
from typing import Any

from daemon.migrating.requests import Preview
from migrations.gates import Gate


def plan_values(shown: Preview) -> Mapping[str, Any]:
    """Return a plan as values of JSON."""
    planning = shown.planning
    return {
        "migration": planning.migration.id,
        "title": planning.migration.manifest.title,
        "checksum": planning.migration.checksum,
        "state": planning.progress.state.value,
        "role": planning.ref.role,
        "hash": shown.hash,
        "rehearsed": shown.rehearsal,
        "gates": [gate_values(one) for one in planning.gates],
        "steps": [
            {"name": one.name, "object": one.object, "lock": one.lock, "sql": one.statement()}
            for one in shown.steps
        ],
    }


def gate_values(gate: Gate) -> Mapping[str, Any]:
    """Return a gate as values of JSON."""
    return {
        "name": gate.name,
        "state": gate.state,
        "missing": gate.missing or None,
        "evidence": gate.evidence or None,
        "approvedBy": list(gate.approved_by),
    }
