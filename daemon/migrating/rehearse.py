"""The rehearsal of a migration on the configured scratch server, or on an embedded one."""

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from daemon.context import Context
from daemon.history import history, requests
from daemon.migrating.gate_facts import EMBEDDED, migration_folder
from daemon.migrating.requests import catalog_session
from migrations import ledger
from migrations.format import Migration
from migrations.migrate import migrate_user, read_progress
from migrations.planning import require_others
from migrations.read_folder import read_migration
from migrations.rehearsal.clone import (
    Source,
    dump_again,
    dump_schema,
    read_source,
    scratch_database,
)
from migrations.rehearsal.rehearse import Rehearser, Scratch
from migrations.rehearsal.result import Rehearsal, RehearsalError
from migrations.state import Progress, half_done
from postgres.session import MIGRATE, Session, Target, open_session


def rehearse_migration(
    context: Context, database: str, migration: str, seconds: float, *, embedded: bool
) -> Rehearsal:
    """Rehearse a migration and record the evidence. Raises RehearsalError, FormatError."""
    folder = migration_folder(context)
    read = read_migration(folder, migration)
    target = context.target(database)
    with catalog_session(context, database) as session:
        known = read_progress(session, migrate_user(session))
        require_others(read, known)
        _require_unapplied(read, _progress_of(session, read, known))
        source = read_source(session)
    with ExitStack() as stack:
        server, folders = _server(context, stack, embedded=embedded)
        dump = dump_schema(target, source.version, folders)
        result = _begin(context, server, target, source)
        result.migration, result.checksum = read.id, read.checksum

        @contextmanager
        def new_database() -> Iterator[Scratch]:
            role = target.migrate_role
            with scratch_database(server, source, dump, role, embedded=embedded) as conninfos:
                yield Scratch(*(replace(target, conninfo=one, logins={}) for one in conninfos))

        def canonical_dump(scratch: Scratch) -> str:
            return dump_again(scratch.admin.conninfo, int(result.server) * 10000, folders)

        rehearser = Rehearser(result, new_database, canonical_dump, _tell)
        rehearser.run(read, seconds)
    if embedded:
        result.notes.append("on an embedded server: this evidence opens no gate")
    _record(context, database, result, embedded=embedded)
    return result


def _progress_of(session: Session, migration: Migration, known: Mapping[str, Progress]) -> Progress:
    user, name = migrate_user(session), migration.id
    return replace(
        known.get(name, Progress()),
        steps=ledger.steps(session, user, name),
        batches=ledger.batches(session, user, name),
    )


def _require_unapplied(migration: Migration, progress: Progress) -> None:
    """Raise RehearsalError if the schema to copy has parts of the migration already."""
    phase = half_done(migration, progress) or progress.phase
    if phase is not None:
        raise RehearsalError(
            f"{migration.id} is applied up to {phase.value} in this database: its schema cannot "
            "be rehearsed on; rehearse it before it is applied, or in another environment"
        )


def _server(context: Context, stack: ExitStack, *, embedded: bool) -> tuple[str, list[Path]]:
    """Return the conninfo of the scratch server, and folders with its programs."""
    if not embedded:
        scratch = context.config.migrations.scratch
        if scratch is None:
            raise RehearsalError(
                "migrations.scratch is not configured: a server where databases may be created, "
                "like the target's but another; or try --embedded"
            )
        return scratch, []
    from daemon.demo.cluster import Cluster, ClusterError, embedded_binaries

    try:
        binaries = embedded_binaries()
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sereno-rehearsal-")))
        place.chmod(0o755)
        cluster = stack.enter_context(Cluster(place, binaries, {}))
    except (ClusterError, OSError) as error:
        raise RehearsalError(f"--embedded: {error}") from None
    return cluster.dsn(), [binaries]


def _begin(context: Context, server: str, target: Target, source: Source) -> Rehearsal:
    """Return an empty result. Raises RehearsalError for the server of a configured database."""
    scratch = Target("migrations.scratch", server, migrate_path=target.migrate_path)
    with open_session(scratch, MIGRATE, "rehearse", read_only=True) as session:
        facts = session.facts
    with context.store.reading() as transaction:
        known = [history.known_server(transaction, name) for name in context.config.databases]
    identifiers = {one.system_identifier for one in known if one is not None}
    if facts.system_identifier in {*identifiers, source.system_identifier}:
        raise RehearsalError(
            "migrations.scratch is the server of a configured database; a rehearsal needs another"
        )
    return Rehearsal("", "", str(facts.version // 10000), facts.system_identifier)


def _record(context: Context, database: str, result: Rehearsal, *, embedded: bool) -> None:
    environment = EMBEDDED if embedded else context.config.migrations.environment
    with context.store.transaction() as transaction:
        requests.record_evidence(
            transaction,
            (database, result.migration, result.checksum, environment),
            json.dumps(result.as_json()),
            context.clock(),
            ok=not result.problems,
        )


def _tell(sentence: str) -> None:
    """Show the progress on a terminal."""
    if sys.stderr.isatty():
        sys.stderr.write(f"  {sentence}\n")
