"""The facts about the gates of a migration that need no look at its ledger."""

from dataclasses import replace
from pathlib import Path

from daemon.context import Context
from daemon.history import requests
from migrations.evidence import Evidence, EvidenceError
from migrations.format import Migration
from migrations.gates import GateFacts, Rehearsed
from migrations.read_folder import read_evidence
from postgres.session import TargetError
from store.store import Row
from store.timestamps import from_text

EMBEDDED = "embedded"
"""The environment of evidence from an embedded server."""


def migration_folder(context: Context) -> Path:
    """Return the folder of migrations. Raises TargetError if none is configured."""
    folder: Path | None = context.config.migrations.folder
    if folder is None:
        raise TargetError('migrations.folder is not configured, like "/etc/sereno/migrations"')
    return folder


def gate_facts(context: Context, database: str, migration: Migration) -> GateFacts:
    """Return the facts about the gates that need no look at the ledger."""
    options = context.config.migrations
    facts = GateFacts(
        environment=options.environment,
        ladder=options.ladder,
        now=context.clock(),
        soak=options.soak,
        evidence_age=options.evidence_age,
        rehearsed=rehearsal_facts(last_evidence(context, database, migration)),
        has_principals=bool(context.config.web.principals),
    )
    if not facts.lower_rung:
        return facts
    try:
        return replace(facts, lower=_lower_evidence(context, migration, facts.lower_rung))
    except (EvidenceError, TargetError) as error:
        return replace(facts, lower_problem=str(error))


def last_evidence(context: Context, database: str, migration: Migration) -> Row | None:
    """Return the last rehearsal of this checksum for a database.

    One on an embedded server only if there is no other: it takes nothing away from a true one.
    """
    with context.store.reading() as transaction:
        rows = requests.evidence_of(transaction, database, migration.id, migration.checksum)
    real = [row for row in rows if row["environment"] != EMBEDDED]
    return next(iter(real or rows), None)


def rehearsal_facts(row: Row | None) -> Rehearsed | None:
    """Return the facts of a rehearsal that the gates ask for."""
    if row is None:
        return None
    return Rehearsed(bool(row["ok"]), row["environment"] == EMBEDDED, from_text(row["recorded_at"]))


def _lower_evidence(context: Context, migration: Migration, rung: str) -> Evidence:
    """Return the verified evidence of the rung below. Raises EvidenceError, TargetError."""
    key = context.config.migrations.rungs.get(rung)
    if key is None:
        raise EvidenceError(f"migrations.rungs.{rung}.public_key is not configured")
    text = read_evidence(migration_folder(context), migration.id, rung)
    file = f"evidence.{rung}.json"
    if text is None:
        raise EvidenceError(
            f"{file} is not in its folder; in {rung}: sereno migrate evidence {migration.id} "
            f"--sign > {file}"
        )
    try:
        return Evidence.verified(text, key.public_key)
    except EvidenceError as error:
        raise EvidenceError(f"{file}: {error}") from None
