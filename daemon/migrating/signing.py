"""The signed evidence of this environment, for the next one of the ladder."""

import json
from collections.abc import Mapping
from typing import Any

from daemon.context import Context
from daemon.migrating.gate_facts import last_evidence, migration_folder, rehearsal_facts
from daemon.migrating.requests import catalog_session
from domain.cause import Cause
from domain.secret import SecretError
from migrations import gate_ledger
from migrations.evidence import Evidence, EvidenceError
from migrations.format import Migration, Phase
from migrations.migrate import migrate_user, read_progress
from migrations.read_folder import read_migration
from migrations.state import Progress, State
from migrations.steps.migration_step import MigrationError
from store.store import Row

SIGNED = frozenset({State.WAITING_GATE, State.PAUSED, State.DONE, State.PURGED})


def signed_evidence(context: Context, database: str, migration: str) -> Mapping[str, Any]:
    """Return the evidence as values of JSON, with its signature.

    Raises MigrationError if nothing was applied or rehearsed, EvidenceError for the key.
    """
    options = context.config.migrations
    if options.signing_key is None:
        raise EvidenceError(
            "migrations.signing_key is not configured; sereno migrate new-key FILE makes one"
        )
    read = read_migration(migration_folder(context), migration)
    row = _rehearsal(context, database, read)
    with catalog_session(context, database) as session:
        user = migrate_user(session)
        progress = read_progress(session, user).get(migration, Progress())
        adopted = gate_ledger.has_adopted(session, user, migration)
        facts = session.facts
    phase = _applied(read, progress, adopted=adopted)
    evidence = Evidence(
        migration=migration,
        checksum=read.checksum,
        rung=options.environment,
        system_identifier=facts.system_identifier,
        server_version=str(facts.version // 10000),
        phase=phase.value,
        round_trips=tuple(json.loads(row["evidence"])["round_trips"]),
        rehearsed_at=row["recorded_at"],
        at=context.clock().isoformat(timespec="seconds"),
    )
    try:
        return evidence.signed(options.signing_key.reveal())
    except SecretError as error:
        raise EvidenceError(f"migrations.signing_key: {error}") from None


def _applied(migration: Migration, progress: Progress, *, adopted: bool) -> Phase:
    """Return the last phase that was applied here. Raises MigrationError if nothing proves it."""
    if progress.phase is None or progress.checksum != migration.checksum:
        raise MigrationError(
            Cause.REFUSED, f"{migration.id} is not applied here with this checksum: apply it first"
        )
    if adopted or progress.state not in SIGNED:
        state = "adopted" if adopted else progress.state.value
        raise MigrationError(
            Cause.REFUSED, f"{migration.id} is {state} here: only phases applied here are signed"
        )
    return progress.phase


def _rehearsal(context: Context, database: str, migration: Migration) -> Row:
    """Return the last rehearsal of this checksum. Raises MigrationError unless it proves it."""
    row = last_evidence(context, database, migration)
    rehearsed = rehearsal_facts(row)
    if row is None or rehearsed is None or not rehearsed.ok or rehearsed.embedded:
        raise MigrationError(
            Cause.REFUSED,
            f"{migration.id} has no rehearsal without problems on a scratch server, with "
            f"this checksum: sereno migrate rehearse {migration.id}",
        )
    return row
