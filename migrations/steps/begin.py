"""The beginning of a run, and of a phase: records made before anything is changed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from execution.control import StepControl
from migrations import gate_ledger, ledger
from migrations.catalog_state import read_catalog
from migrations.format import Migration, Query, SqlFile
from migrations.gates import PASSED, Gate
from migrations.ledger import Written
from migrations.state import State, StepRow
from migrations.steps.check_phase import same_value
from migrations.steps.migration_step import MigrationStep
from postgres.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class BeginRun(MigrationStep):
    """Record the run, the text of every file, and that the migration is running."""

    migration: Migration
    request: Mapping[str, str]
    """Action, environment, until, plan hash, principal, reason and version."""
    state: State = State.RUNNING
    gates: tuple[Gate, ...] = ()
    """The gates that are passed, with the evidence."""
    adopted: tuple[SqlFile, ...] = ()
    """The files that were applied by other means."""
    name: str = "begin"

    def statement(self) -> str:
        """Return the records in words."""
        return "-- records the run and the text of every file in schema sereno"

    def work(self, session: Session, control: StepControl) -> int:
        """Record them in one transaction."""
        heights = ledger.heights(session)
        with session.transaction():
            written: Written = ledger.add(
                session,
                "migration_run",
                run=self.ref.run,
                migration=self.ref.migration,
                **self.request,
            )
            for gate in self.gates:
                passed = {
                    "gate": gate.name,
                    "state": PASSED,
                    "principal": self.request["principal"],
                    "note": gate.evidence,
                }
                environment = self.request["environment"]
                written |= gate_ledger.add_gate(session, self.ref, environment, passed)
            written |= ledger.add_files(session, self.ref, self.migration)
            for file in self.adopted:
                row = StepRow(file.phase, file.name, file.checksum, 0, "done")
                written |= ledger.add_step(session, self.ref, row, reason="adopted")
            written |= ledger.add_state(session, self.ref, self.complete, self.state)
        self.require_only(control, heights, written)
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BeginPhase(MigrationStep):
    """Record the catalog before a phase, and the values that have to stay the same."""

    same: tuple[Query, ...] = ()
    name: str = "record"

    def statement(self) -> str:
        """Return the records in words."""
        return "-- records the catalog of the owner, and the values of @same"

    def work(self, session: Session, control: StepControl) -> int:
        """Read as the owner, then record."""
        with self.reading(session, control):
            values: dict[str, Any] = {one.name: same_value(session, one) for one in self.same}
        phase = self.phase.value if self.phase else ""
        heights = ledger.heights(session)
        with session.transaction():
            lines = ledger.json_value(read_catalog(session, self.ref.role))
            written = ledger.add(
                session,
                "migration_snapshot",
                run=self.ref.run,
                migration=self.ref.migration,
                phase=phase,
                catalog=lines,
            )
            for name, value in values.items():
                written |= ledger.add_check(
                    session, self.ref, phase, ledger.Checked(name, "before", value)
                )
        self.require_only(control, heights, written)
        return 0
