"""Views of migrations: a list with states, the progress of batches, runs at work."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from psycopg import sql

from daemon.context import Context
from daemon.history import requests
from daemon.migrating.gate_facts import migration_folder
from daemon.migrating.requests import (
    Read,
    applied_migration,
    catalog_session,
    migrating_databases,
)
from daemon.runs.recovery import is_alive
from domain.cause import Cause
from migrations import ledger
from migrations.format import PHASES, Kind, Migration, Phase
from migrations.migrate import NAME, migrate_user, read_progress
from migrations.read_folder import FormatError, list_ids, read_migration
from migrations.state import Progress, State, following, half_done
from migrations.statements import GrammarError
from migrations.steps.migration_step import MigrationError
from migrations.steps.run_batches import estimated_rows
from postgres.session import Session, TargetError
from store.store import Row, Transaction

POLL_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 120.0
_RESUMED = frozenset({State.PAUSED, State.FAILED, State.RUNNING, State.TAMPERED})

_RATE = sql.SQL(
    """
    SELECT coalesce(sum(keys), 0)::bigint AS keys, max(written_at) AS last,
           coalesce(extract(epoch FROM max(written_at) - min(written_at)), 0)::float8 AS seconds
    FROM (SELECT keys, written_at FROM sereno.migration_batch
          WHERE written_by = {user} AND migration = {migration} AND file = {file} AND keys >= 0
          ORDER BY ordinal DESC LIMIT 50) recent
    """
)


@dataclass(frozen=True, slots=True)
class Listed:
    """One migration in one database."""

    id: str
    title: str
    database: str
    state: State
    phase: str
    since: datetime | None
    reason: str
    next: str
    problem: str = ""
    """Why its folder cannot be used."""


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """The progress of one batch file."""

    file: str
    done: int
    estimate: int
    rate: float
    """Keys in a second, over the last batches."""
    last: datetime | None

    @property
    def percent(self) -> float | None:
        """Return the share done, at most 100; None if the size is unknown."""
        return min(100.0, 100.0 * self.done / self.estimate) if self.estimate else None

    @property
    def eta_seconds(self) -> float | None:
        """Return the seconds left at the present rate; None if that is unknown."""
        if not self.rate or not self.estimate:
            return None
        return max(0.0, (self.estimate - self.done) / self.rate)


def list_migrations(
    context: Context, database: str | None, only: str = "", read: Read = read_migration
) -> list[Listed]:
    """Return every migration of the folder and the ledgers, by database."""
    names = [database] if database else migrating_databases(context)
    folder = context.config.migrations.folder
    in_folder = list_ids(folder) if folder is not None and not only else []
    found: list[Listed] = []
    for name in names:
        with catalog_session(context, name) as session:
            known = read_progress(session, migrate_user(session))
        ids = sorted({*in_folder, *known}) if not only else [only]
        found += [_listed(context, name, one, known.get(one, Progress()), read) for one in ids]
    return found


def _listed(
    context: Context, database: str, migration: str, progress: Progress, read: Read
) -> Listed:
    problem, after, title = "", None, progress.title
    try:
        found = read(migration_folder(context), migration)
        after, title = following(found, progress.phase), found.manifest.title
    except (FormatError, GrammarError, TargetError) as error:
        problem = str(error).splitlines()[-1].strip()
    state, way_on = progress.state, progress.next_command(migration, after)
    if state is State.RUNNING and _is_at_work(context, database, migration):
        way_on = f"sereno migrate progress {migration} (or pause, cancel)"
    elif state is State.RUNNING:
        progress = replace(progress, reason="its process ended without a word")
        way_on = f"sereno migrate resume {migration}"
    if len(migrating_databases(context)) > 1:
        way_on = way_on.replace(f" {migration}", f" {migration} --database {database}")
    return Listed(
        id=migration,
        title=title,
        database=database,
        state=state,
        phase=progress.phase.value if progress.phase else "",
        since=progress.since,
        reason=progress.reason,
        next=way_on,
        problem=problem if progress.state is State.PENDING else "",
    )


def _is_alive(row: Row) -> bool:
    return is_alive(row["id"], row)


def _is_at_work(context: Context, database: str, migration: str) -> bool:
    with context.store.reading() as transaction:
        return bool(_runs_at_work(transaction, database, migration))


def run_at_work(context: Context, database: str) -> Row | None:
    """Return the run of any migration that is at work in a database; None if there is none."""
    with context.store.reading() as transaction:
        rows = requests.running_requests(transaction, NAME)
    here = [row for row in rows if row["database"] == database and _is_alive(row)]
    return here[-1] if here else None


def _runs_at_work(transaction: Transaction, database: str, migration: str) -> list[int]:
    """Return the numbers of the runs of a migration whose process is alive."""
    rows = requests.running_requests(transaction, NAME, migration)
    here = [row for row in rows if row["database"] == database]
    return [int(row["id"]) for row in here if _is_alive(row)]


def batch_progress(context: Context, database: str, migration: str) -> list[BatchProgress]:
    """Return how far each batch file of an applied migration has come. Raises MigrationError."""
    with catalog_session(context, database) as session:
        read = applied_migration(session, migration)
        user = migrate_user(session)
        known = ledger.batches(session, user, migration)
        return [
            _batch(session, user, read, name, known[name].done if name in known else 0)
            for name, file in read.files.items()
            if file.kind is Kind.BATCH
        ]


def _batch(session: Session, user: str, read: Migration, file: str, done: int) -> BatchProgress:
    values = {"user": sql.Literal(user), "migration": sql.Literal(read.id)}
    row: dict[str, Any] = session.rows(_RATE.format(**values, file=sql.Literal(file)))[0]
    table = sql.Literal(read.manifest.steps[file].table)
    rate = row["keys"] / row["seconds"] if row["seconds"] else 0.0
    return BatchProgress(file, done, estimated_rows(session, table), rate, row["last"])


def require_known(context: Context, database: str, migration: str) -> None:
    """Raise MigrationError if neither the folder nor the ledger has a migration."""
    folder = context.config.migrations.folder
    with catalog_session(context, database) as session:
        known = {*read_progress(session, migrate_user(session))}
    known |= set(list_ids(folder) if folder is not None else ())
    if migration not in known:
        raise MigrationError(
            Cause.REFUSED, f"{migration}: neither the folder nor {database} has it"
        )


def require_begun(context: Context, database: str, migration: str) -> str | None:
    """Return the `until` of the last run. Raises MigrationError if there is nothing to go on."""
    with catalog_session(context, database) as session:
        user = migrate_user(session)
        progress = read_progress(session, user).get(migration, Progress())
        if progress.state not in _RESUMED:
            raise MigrationError(
                Cause.REFUSED,
                f"{migration} is {progress.state.value}: sereno migrate plan {migration} shows "
                "what apply would do",
            )
        until = ledger.last_until(session, user, migration)
    if until and progress.phase and PHASES.index(Phase(until)) <= PHASES.index(progress.phase):
        return None
    return until


def stop_run(context: Context, database: str, migration: str, principal: str) -> int | None:
    """Ask the run of a migration to stop; return its number, or None if there is none."""
    with context.store.transaction() as transaction:
        numbers = _runs_at_work(transaction, database, migration)
        for number in numbers:
            requests.request_stop(transaction, number, principal, context.clock())
    return numbers[-1] if numbers else None


def wait_for_end(context: Context, number: int) -> None:
    """Wait until a run has ended, for two minutes at the most. Raises TargetError."""
    deadline = time.monotonic() + LONGEST_WAIT_SECONDS
    while time.monotonic() < deadline:
        with context.store.reading() as transaction:
            rows = requests.running_requests(transaction, NAME)
        if all(row["id"] != number for row in rows):
            return
        time.sleep(POLL_SECONDS)
    raise TargetError(f"run {number} has not stopped in {LONGEST_WAIT_SECONDS:.0f} s")


def unfinished_phase(context: Context, database: str, migration: str) -> Phase | None:
    """Return the phase that has begun and is not complete; None if there is none."""
    with catalog_session(context, database) as session:
        user = migrate_user(session)
        read = applied_migration(session, migration)
        progress = read_progress(session, user)[migration]
        steps = ledger.steps(session, user, migration)
        batches = ledger.batches(session, user, migration)
    return half_done(read, replace(progress, steps=steps, batches=batches))


def rows_of(listed: Sequence[Listed]) -> list[dict[str, Any]]:
    """Return migrations as values of JSON."""
    return [{field: getattr(one, field) for field in Listed.__dataclass_fields__} for one in listed]
