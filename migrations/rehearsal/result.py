"""The result of a rehearsal, and why one cannot be held."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from migrations.statements import TableLock


class RehearsalError(Exception):
    """The rehearsal cannot be held; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """One named statement of one application in one phase."""

    phase: str
    application: str
    """old or new."""
    name: str
    error: str = ""
    """Empty if it works."""


@dataclass(slots=True)
class Rehearsal:
    """What a rehearsal has found."""

    migration: str
    checksum: str
    server: str
    """The server version."""
    system_identifier: str
    problems: list[str] = field(default_factory=list)
    probes: list[ProbeResult] = field(default_factory=list)
    locks: dict[str, list[TableLock]] = field(default_factory=dict)
    """The locks that each file took, the strongest of each table."""
    round_trips: list[str] = field(default_factory=list)
    """The phases from which a rollback restored schema and data."""
    notes: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    longest_wait_ms: float = 0.0
    """The longest statement of a probe while the phases ran beside it."""
    probe_runs: int = 0
    cycles: int = 0

    def served(self, phase: str, application: str) -> bool | None:
        """Return whether every probe of an application works in a phase; None without probes."""
        found = [one for one in self.probes if (one.phase, one.application) == (phase, application)]
        return all(not one.error for one in found) if found else None

    def as_json(self) -> Mapping[str, Any]:
        """Return it as values of JSON: the evidence."""
        return {
            "format": 1,
            "migration": self.migration,
            "checksum": self.checksum,
            "server_version": self.server,
            "system_identifier": self.system_identifier,
            "ok": not self.problems,
            "problems": self.problems,
            "round_trips": self.round_trips,
            "probes": [[one.phase, one.application, one.name, one.error] for one in self.probes],
            "locks": {
                file: [[one.schema, one.table, one.mode] for one in locks]
                for file, locks in self.locks.items()
            },
            "notes": self.notes,
            "seconds": self.seconds,
            "longest_wait_ms": self.longest_wait_ms,
            "probe_runs": self.probe_runs,
            "cycles": self.cycles,
        }


def phases_of(results: Sequence[ProbeResult]) -> list[str]:
    """Return the phases of some results, in their order."""
    return list(dict.fromkeys(one.phase for one in results))
