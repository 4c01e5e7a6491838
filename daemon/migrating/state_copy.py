"""The copy of the ledgers in the store, for the page, the metrics and the alerts."""

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import psycopg
import structlog

from daemon.context import Context
from daemon.history import migrating
from daemon.history.migrating import MigrationRow
from daemon.migrating.plan_values import gate_values
from daemon.migrating.requests import (
    Wish,
    build_request,
    catalog_session,
    migrating_databases,
)
from daemon.migrating.views import Listed, list_migrations
from migrations import gate_ledger
from migrations.format import Migration
from migrations.migrate import migrate_user, read_planning
from migrations.read_folder import FormatError, read_migration
from migrations.state import ENDED
from migrations.statements import GrammarError
from migrations.steps.migration_step import MigrationError
from postgres.session import Session, TargetError
from store.store import StoreError

_log = structlog.get_logger("migrations")


def copy_states(context: Context, database: str) -> None:
    """Copy the ledger of a database into the store. Raises TargetError, StoreError."""
    listed = list_migrations(context, database, read=_read_cached)
    with catalog_session(context, database) as session:
        waivers = gate_ledger.count_waivers(session, migrate_user(session))
        rows = [_row(context, session, one, waivers) for one in listed]
    with context.store.transaction() as transaction:
        migrating.replace_states(transaction, database, rows, context.clock())


def copy_all_states(context: Context) -> None:
    """Copy every ledger that can be read; the others keep their former copy."""
    databases = migrating_databases(context)
    try:
        with context.store.transaction() as transaction:
            migrating.forget_states(transaction, databases)
    except StoreError as error:
        _log.warning("migrations.not_copied", database="", reason=str(error))
    for database in databases:
        copy_if_possible(context, database)


def copy_if_possible(context: Context, database: str) -> None:
    """Copy a ledger; log why it cannot be copied. The former copy stays then."""
    try:
        copy_states(context, database)
    except (TargetError, FormatError, StoreError, psycopg.Error) as error:
        _log.warning("migrations.not_copied", database=database, reason=str(error))


def _row(
    context: Context, session: Session, listed: Listed, waivers: Mapping[str, int]
) -> MigrationRow:
    problem, gates, checksum = listed.problem, list[Mapping[str, Any]](), ""
    if listed.state not in ENDED and not problem:
        try:
            wish = Wish(listed.id, shows_only=True)
            request = build_request(context, session, wish, read=_read_cached)
            checksum = request.migration.checksum
            gates = [gate_values(one) for one in read_planning(session, request).gates]
        except (FormatError, GrammarError, MigrationError) as error:
            problem = str(error)
    return MigrationRow(
        migration=listed.id,
        title=listed.title,
        checksum=checksum,
        phase=listed.phase,
        state=listed.state.value,
        reason=listed.reason,
        next=listed.next,
        problem=problem,
        gates=gates,
        waivers=waivers.get(listed.id, 0),
        since=listed.since,
    )


def _read_cached(folder: Path, migration: str) -> Migration:
    """Read a migration again only if a file of it has changed. Raises as read_migration."""
    try:
        with os.scandir(folder / migration) as entries:
            parts = [(one.name, one.stat(follow_symlinks=False)) for one in entries]
    except OSError:
        return read_migration(folder, migration)
    signature = tuple(sorted((name, one.st_size, one.st_mtime_ns) for name, one in parts))
    return _read_as_is(folder, migration, signature)


@lru_cache(maxsize=512)
def _read_as_is(folder: Path, migration: str, _signature: object) -> Migration:
    return read_migration(folder, migration)
