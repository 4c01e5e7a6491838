"""Requests for the job `migrate`, made from the configuration and a person's wishes."""

import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from daemon.context import Context
from daemon.history import migrating
from daemon.migrating.gate_facts import gate_facts, last_evidence, migration_folder
from domain.cause import Cause
from domain.task import Request, Scope, Task
from migrations import ledger
from migrations.format import Migration, Phase
from migrations.ledger import Checked
from migrations.migrate import (
    NAME,
    Action,
    MigrationRequest,
    migrate_user,
    plan_steps,
    read_planning,
    read_progress,
)
from migrations.plan import plan_hash
from migrations.planning import Planning
from migrations.read_folder import build_migration, read_migration
from migrations.statements import TableLock
from migrations.steps.check_phase import violations
from migrations.steps.migration_step import MigrationError, MigrationStep, become_owner
from postgres.session import MAINTAIN, MIGRATE, Session, open_session
from store.store import StoreError


@dataclass(frozen=True, slots=True)
class Wish:
    """A person's request, before anything is read."""

    migration: str
    action: Action = "apply"
    until: Phase | None = None
    reviewed: str = ""
    principal: str = "local"
    reason: str = ""
    accepts: bool = False
    run: str = ""
    """The id of the run; empty makes one."""
    shows_only: bool = False
    """Whether the plan is only shown, so that closed gates do not refuse it."""


@dataclass(frozen=True, slots=True)
class Preview:
    """A plan as it would run now."""

    request: MigrationRequest
    planning: Planning
    steps: Sequence[MigrationStep]
    hash: str
    rehearsal: str
    """What the last rehearsal of this checksum found; empty without one."""


def migrating_databases(context: Context) -> list[str]:
    """Return the databases with a `migrate` login."""
    return [name for name, one in context.config.databases.items() if one.migrate is not None]


@contextmanager
def catalog_session(context: Context, database: str) -> Iterator[Session]:
    """Open a read-only session of `maintain`. Raises TargetError."""
    target = context.target(database)
    with open_session(target, MAINTAIN, NAME, read_only=True) as session:
        yield session


Read = Callable[[Path, str], Migration]


def build_request(
    context: Context, session: Session, wish: Wish, read: Read = read_migration
) -> MigrationRequest:
    """Return the request of a wish; a rollback takes the files from the ledger.

    Raises FormatError, TargetError, MigrationError.
    """
    options, database = context.config.migrations, session.target.name
    if wish.action == "rollback":
        migration = applied_migration(session, wish.migration)
    else:
        migration = read(migration_folder(context), wish.migration)
    return MigrationRequest(
        action=wish.action,
        run=wish.run or str(uuid.uuid4()),
        migration=migration,
        until=wish.until,
        reviewed=wish.reviewed,
        accepts=wish.accepts,
        principal=wish.principal,
        reason=wish.reason,
        environment=options.environment,
        gating=gate_facts(context, database, migration) if wish.action == "apply" else None,
        shows_only=wish.shows_only,
        version=version("sereno"),
        budget_seconds=options.lock_budget.total_seconds(),
        check_age_seconds=options.check_age.total_seconds(),
        rehearsed=rehearsed_locks(context, database, migration),
        most_keys=lambda: _batch_limit(context, database, migration.id),
    )


def _batch_limit(context: Context, database: str, migration: str) -> int | None:
    """Return the most keys of a batch, as a person has set it; none while it cannot be read."""
    try:
        with context.store.reading() as transaction:
            return migrating.batch_limit(transaction, database, migration)
    except StoreError:
        return None


def applied_migration(session: Session, migration: str) -> Migration:
    """Return a migration as it was when it was applied.

    Raises MigrationError if the ledger does not know it.
    """
    user = migrate_user(session)
    progress = read_progress(session, user).get(migration)
    if progress is None:
        raise MigrationError(Cause.REFUSED, f"{migration} was never applied in this database")
    files = ledger.files_of(session, user, migration, progress.checksum)
    if not files:
        raise MigrationError(Cause.REFUSED, f"the ledger has no files of {migration}")
    return build_migration(migration, files)


def planning_of(context: Context, database: str, migration: str) -> Planning:
    """Return the input of the plan of an apply, with its gates. Raises as `preview`."""
    with catalog_session(context, database) as session:
        wish = Wish(migration, shows_only=True)
        return read_planning(session, build_request(context, session, wish))


def preview(context: Context, database: str, wish: Wish) -> Preview:
    """Return the plan of a wish as it would run now. Raises as `build_request`."""
    with catalog_session(context, database) as session:
        request = build_request(context, session, wish)
        planning = read_planning(session, request)
        steps = plan_steps(planning, request)
        found = rehearsal_of(context, database, request.migration)
        return Preview(request, planning, steps, plan_hash(planning, steps), found)


def migration_task(database: str, request: MigrationRequest) -> Task:
    """Return the task of a request."""
    asked = Request(
        subject=request.migration.id,
        principal=request.principal,
        reason=request.reason,
        details=request,
        id=request.run,
        action=request.action,
    )
    return Task(NAME, Scope.DATABASE, database, request=asked)


def check_now(context: Context, database: str, migration: str) -> list[tuple[Checked, bool]]:
    """Run the checks of the last complete phase, record nothing; return whether each only warns.

    Raises MigrationError.
    """
    with catalog_session(context, database) as session:
        user = migrate_user(session)
        read = applied_migration(session, migration)
        phase = read_progress(session, user)[migration].phase
        target = session.target
    checked = read.check(phase)
    if checked is None:
        return []
    with (
        open_session(target, MIGRATE, NAME, read_only=True) as session,
        session.transaction(read_only=True, repeatable=True, undone=True),
    ):
        become_owner(session, target.migrate_role)
        return [(violations(session, one), one.warn) for one in checked.violations]


def rehearsal_of(context: Context, database: str, migration: Migration) -> str:
    """Return what the last rehearsal of this checksum found, in words; empty without one."""
    row = last_evidence(context, database, migration)
    if row is None:
        return ""
    if row["ok"]:
        return "rehearsed, no problem found"
    return f"the last rehearsal found problems: sereno migrate evidence {migration.id}"


def rehearsed_locks(
    context: Context, database: str, migration: Migration
) -> dict[str, tuple[TableLock, ...]]:
    """Return the locks by file that the last rehearsal of this checksum saw; empty without one."""
    row = last_evidence(context, database, migration)
    if row is None or not row["ok"]:
        return {}
    evidence: Mapping[str, Any] = json.loads(row["evidence"])
    return {
        file: tuple(TableLock(*lock) for lock in locks)
        for file, locks in evidence.get("locks", {}).items()
    }
