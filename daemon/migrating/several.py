"""One migration in several databases, one after the other; the first failure stops."""

from daemon.context import Context
from daemon.migrating.requests import Wish, catalog_session
from daemon.migrating.views import RESUMED, require_begun
from migrations import ledger
from migrations.format import PHASES, Phase
from migrations.migrate import migrate_user, read_progress
from migrations.state import Progress, State


def wish_to_go_on(
    context: Context, database: str, migration: str, until: Phase | None
) -> Wish | None:
    """Return the wish that goes on in a database; None if it has nothing left to do.

    One that was not begun is applied up to `until`.
    """
    with catalog_session(context, database) as session:
        progress = read_progress(session, migrate_user(session)).get(migration, Progress())
    if until and progress.phase and PHASES.index(progress.phase) >= PHASES.index(until):
        return None
    if progress.state in RESUMED:
        last = require_begun(context, database, migration)
        return Wish(migration, until=Phase(last) if last else None)
    if progress.state in {State.PENDING, State.ROLLED_BACK}:
        return Wish(migration, until=until)
    return None


def asked_until(context: Context, database: str, migration: str) -> Phase | None:
    """Return the phase up to which a migration was last applied in a database."""
    with catalog_session(context, database) as session:
        last = ledger.last_until(session, migrate_user(session), migration)
    return Phase(last) if last else None
