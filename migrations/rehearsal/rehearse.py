"""The rehearsal: every phase applied, probed, rolled back and compared; then under load."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import psycopg
from psycopg import sql

from execution import governor
from execution.control import RunLimits
from execution.executor import Executor
from execution.progress import NoProgress, Progress
from execution.step import Outcome, Status, Step
from execution.window import open_window
from migrations import ledger, state
from migrations.format import GATED, Kind, Migration, Phase, Query
from migrations.ledger import RunRef
from migrations.plan import plan_apply, plan_rollback
from migrations.planning import Planning
from migrations.rehearsal.compare import DatabaseState, read_state, state_differences
from migrations.rehearsal.locks_seen import LocksSeen
from migrations.rehearsal.probes import Load, probe_alone
from migrations.rehearsal.result import Rehearsal
from migrations.state import Progress as MigrationProgress
from migrations.steps.migration_step import Observe, become_owner, unobserved
from postgres.identifiers import parse_relation
from postgres.session import MIGRATE, Session, Target, open_session

BEFORE = "before"
APPLICATIONS = ("old", "new")
MOST_CYCLES = 50
BATCHES_IN_A_CYCLE = 20
BUDGET_SECONDS = 20.0


_COUNT = sql.SQL("SELECT count(*) AS rows FROM {table}")


class StoppedError(Exception):
    """A phase failed: the rehearsal goes no further. Its problem is recorded."""


@dataclass(frozen=True, slots=True)
class Scratch:
    """One scratch database: as its maker, and as a login that may only become the owner."""

    admin: Target
    plain: Target


@dataclass(slots=True)
class Stage:
    """One scratch database, its sessions and the migration."""

    scratch: Scratch
    migration: Migration
    session: Session
    second: Session
    """Looks at the catalog, in the place of `maintain`."""
    progress: Progress = field(default_factory=NoProgress)

    @property
    def required(self) -> dict[str, MigrationProgress]:
        """Return the required migrations as applied: the copied schema has them."""
        done = MigrationProgress(state.State.DONE)
        return dict.fromkeys(self.migration.manifest.requires, done)

    @property
    def target(self) -> Target:
        """Return the database as the plain login."""
        return self.scratch.plain

    def run(self, steps: Sequence[Step]) -> list[tuple[Step, Outcome]]:
        """Run steps in order; return them with their outcomes."""
        terms = RunLimits(
            window=open_window(None),
            stop=threading.Event(),
            sample=governor.Sample,
            limits=governor.Limits(),
            progress=self.progress,
            orders=governor.Sample,
            look=self.second.rows,
            speed="full",
        )
        executor = Executor(terms, {MIGRATE: [self.session]})
        return [one for batch in executor.run(steps, ordered=True) for one in batch]

    def planning(self, until: Phase | None, **more: object) -> Planning:
        """Return the input of a plan."""
        user, name = self.session.facts.user, self.migration.id
        known = state.current(ledger.events(self.session, user)).get(name, MigrationProgress())
        progress = replace(
            known,
            steps=ledger.steps(self.session, user, name),
            batches=ledger.batches(self.session, user, name),
        )
        request = dict.fromkeys(("action", "until", "plan_hash", "principal", "reason"), "")
        ref = RunRef.of(str(uuid.uuid4()), self.migration, user, self.target.migrate_role)
        return Planning(
            ref=ref,
            migration=self.migration,
            progress=progress,
            request={**request, "environment": "rehearsal", "version": ""},
            until=until,
            others=self.required,
            budget_seconds=BUDGET_SECONDS,
            through_gates=True,
            **more,  # type: ignore[arg-type]
        )


@contextmanager
def open_stage(scratch: Scratch, migration: Migration) -> Iterator[Stage]:
    """Open the sessions of a scratch database."""
    with ExitStack() as stack:
        session = stack.enter_context(open_session(scratch.plain, MIGRATE, "migrate"))
        second = stack.enter_context(open_session(scratch.admin, MIGRATE, "rehearse"))
        yield Stage(scratch, migration, session, second)


class Rehearser:
    """One rehearsal of a migration on scratch databases."""

    def __init__(
        self,
        rehearsal: Rehearsal,
        new_database: Callable[[], AbstractContextManager[Scratch]],
        dump: Callable[[Scratch], str],
        tell: Callable[[str], object],
    ) -> None:
        self._result = rehearsal
        self._new_database = new_database
        self._dump = dump
        self._tell = tell
        self._locks = LocksSeen()

    def run(self, migration: Migration, seconds: float) -> None:
        """Rehearse alone, then under load for some seconds; findings go into the result."""
        try:
            with self._new_database() as scratch, open_stage(scratch, migration) as stage:
                self._alone(stage)
            self._result.locks = self._locks.by_file()
            self._judge_probes(migration)
            if seconds > 0 and not self._result.problems:
                with self._new_database() as scratch, open_stage(scratch, migration) as stage:
                    self._under_load(stage, seconds)
        except StoppedError:
            self._result.locks = self._locks.by_file()
            self._judge_probes(migration)

    def _alone(self, stage: Stage) -> None:
        """Apply each phase, probe it, roll everything back, compare, and apply it again."""
        self._load_sample(stage)
        start = self._state(stage)
        self._probe(stage, BEFORE, ())
        reversible: list[Phase] = []
        for phase in stage.migration.phases():
            self._tell(f"{phase.value}: apply")
            self._apply(stage, phase, self._locks.observe)
            checked = stage.migration.check(phase)
            self._probe(stage, phase.value, checked.violations if checked else ())
            if stage.migration.rollback(phase) is None:
                self._result.notes.append(f"{phase.value} is irreversible: not rolled back")
                return
            reversible.append(phase)
            self._tell(f"{phase.value}: roll back and compare")
            self._round_trip(stage, start, phase)
            for again in reversible:
                self._apply(stage, again, unobserved)

    def _round_trip(self, stage: Stage, start: DatabaseState, phase: Phase) -> None:
        applied = self._state(stage)
        self._require_archived(stage.migration, start, applied, phase)
        began = time.monotonic()
        self._require(
            stage.run(plan_rollback(stage.planning(None))), f"rollback from {phase.value}"
        )
        self._result.seconds[f"rollback from {phase.value}"] = round(time.monotonic() - began, 3)
        differences = state_differences(start, self._state(stage))
        if differences:
            self._problem(f"rollback from {phase.value}: {'; '.join(differences)}")
            raise StoppedError
        self._result.round_trips.append(phase.value)

    def _require_archived(
        self, migration: Migration, start: DatabaseState, applied: DatabaseState, phase: Phase
    ) -> None:
        """Find the tables that a rollback drops and whose rows are kept nowhere."""
        kept = {str(one) for one in migration.archived()}
        for name in sorted(applied.tables() - start.tables() - kept):
            sentence = (
                f"rollback from {phase.value} drops {name}, whose rows are kept nowhere: list it "
                "in archive of migration.toml"
            )
            if sentence.partition(" drops ")[2] not in str(self._result.problems):
                self._problem(sentence)

    def _apply(self, stage: Stage, phase: Phase, observe: Observe) -> None:
        steps = plan_apply(stage.planning(phase, observe=observe))
        began = time.monotonic()
        with ExitStack() as stack:
            for file in stage.migration.work(phase):
                if file.kind is Kind.NOTX and observe is not unobserved:
                    pid = stage.session.facts.pid
                    third = stack.enter_context(open_session(stage.target, MIGRATE, "rehearse"))
                    stack.enter_context(self._locks.sampling(third, pid, file.name))
            self._require(stage.run(steps), phase.value)
        if observe is not unobserved:
            for file in stage.migration.work(phase):
                if file.kind is Kind.BATCH and not self._locks.has_seen(file.name):
                    self._problem(f"{file.name} was never run: sample.sql has no row for it")
        self._result.seconds.setdefault(phase.value, round(time.monotonic() - began, 3))

    def _probe(self, stage: Stage, phase: str, checks: Sequence[Query]) -> None:
        for application in APPLICATIONS:
            file = stage.migration.files.get(f"probe.{application}.sql")
            if file is None:
                continue
            results, wrong = probe_alone(stage.target, file, application, phase, checks)
            self._result.probes += results
            works = all(not one.error for one in results)
            if wrong and works:
                self._problem(f"after the {application} application in {phase}: {wrong}")

    def _judge_probes(self, migration: Migration) -> None:
        """Find the phases in which an application that is alive does not work."""
        phases = migration.phases()
        if GATED.isdisjoint(phases):
            return
        if any(f"probe.{one}.sql" not in migration.files for one in APPLICATIONS):
            self._problem(
                "probe.old.sql or probe.new.sql is missing: nobody knows if a phase before "
                "cleanup serves both applications"
            )
            return
        late = [one.value for one in phases if one in GATED]
        early = [BEFORE, *(one.value for one in phases if one not in GATED)]
        self._require_works("old", early)
        self._require_works("new", late)
        self._require_overlap(early, late[0])

    def _require_overlap(self, early: Sequence[str], late: str) -> None:
        """Find that no phase before `late` serves both applications."""
        results = self._result
        served = [one for one in early if results.served(one, "old") and results.served(one, "new")]
        if not served and any(one.phase != BEFORE for one in results.probes):
            self._problem(f"no phase before {late} serves both applications without error")

    def _require_works(self, application: str, phases: Sequence[str]) -> None:
        """Find the statements of an application that fail while it is alive."""
        for one in self._result.probes:
            if one.application == application and one.phase in phases and one.error:
                self._problem(
                    f"the {application} application fails in {one.phase}: {one.name}: {one.error}"
                )

    def _under_load(self, stage: Stage, seconds: float) -> None:
        """Apply and roll back the phases beside probes of the applications alive in each."""
        files = {
            one: stage.migration.files[f"probe.{one}.sql"]
            for one in APPLICATIONS
            if f"probe.{one}.sql" in stage.migration.files
        }
        if not files:
            self._result.notes.append("no probe files: nothing was run beside the phases")
            return
        self._load_sample(stage)
        load = Load(stage.target, files, stage.session.facts.pid)
        load.start()
        deadline = time.monotonic() + seconds
        try:
            while self._result.cycles < MOST_CYCLES:
                self._cycle(stage, load)
                if time.monotonic() > deadline or load.errors:
                    break
        finally:
            load.stop()
            self._result.longest_wait_ms = round(load.longest_ms, 1)
            self._result.probe_runs = load.runs
            if not load.runs:
                self._problem("no probe could run beside the phases")
            if load.own_deadlocks:
                self._result.notes.append(
                    f"probes ran into deadlocks among themselves: {load.own_deadlocks}"
                )
            for error in load.errors:
                self._problem(f"beside the phases, the application fails: {error}")

    def _cycle(self, stage: Stage, load: Load) -> None:
        """Apply every reversible phase under load, then roll them back without."""
        self._result.cycles += 1
        self._tell(f"under load: cycle {self._result.cycles}")
        former = BEFORE
        self._serve(load, BEFORE, BEFORE)
        load.wait_for_runs()
        if load.errors:
            return
        for phase in stage.migration.phases():
            if stage.migration.rollback(phase) is None:
                break
            batches = all(one.kind is Kind.BATCH for one in stage.migration.work(phase))
            self._serve(load, former, phase.value, pauses=not batches)
            keys = self._keys_of_a_batch(stage)
            steps = plan_apply(stage.planning(phase, first_keys=keys, most_keys=partial(int, keys)))
            self._require(stage.run(steps), f"{phase.value} beside the applications")
            self._serve(load, phase.value, phase.value)
            load.wait_for_runs()
            former = phase.value
        load.serve("", frozenset())
        self._require(stage.run(plan_rollback(stage.planning(None))), "rollback after the load")

    def _serve(self, load: Load, former: str, phase: str, *, pauses: bool = True) -> None:
        """Let the applications work that the table of probes shows to work before and after."""
        alive = {
            one
            for one in load.files
            if self._result.served(former, one) and self._result.served(phase, one)
        }
        load.serve(phase, frozenset(alive), pauses=pauses)

    def _keys_of_a_batch(self, stage: Stage) -> int:
        """Return a size that gives twenty batches for the largest table that is walked."""
        most = 1
        for options in stage.migration.manifest.steps.values():
            table = parse_relation(options.table)
            with stage.session.transaction(undone=True):
                become_owner(stage.session, stage.target.migrate_role)
                counted = stage.session.rows(_COUNT.format(table=table.identifier()))
            most = max(most, int(counted[0]["rows"]))
        return max(1, most // BATCHES_IN_A_CYCLE)

    def _load_sample(self, stage: Stage) -> None:
        file = stage.migration.files.get("sample.sql")
        if file is None:
            self._result.notes.append("no sample.sql: the rehearsal had no rows")
            return
        try:
            with stage.session.transaction():
                become_owner(stage.session, stage.target.migrate_role)
                for statement in file.statements:
                    stage.session.execute(statement.text.encode())
        except psycopg.Error as error:
            self._problem(f"sample.sql: {error.diag.message_primary or error}")
            raise StoppedError from None

    def _state(self, stage: Stage) -> DatabaseState:
        return read_state(stage.session, self._dump(stage.scratch))

    def _require(self, results: Sequence[tuple[Step, Outcome]], where: str) -> None:
        for step, outcome in results:
            if outcome.status is not Status.DONE:
                self._problem(f"{where}: {step.name} {step.object}: {outcome.reason}")
                raise StoppedError

    def _problem(self, sentence: str) -> None:
        if sentence not in self._result.problems:
            self._result.problems.append(sentence)
