"""One migration in several databases, one after the other; the first failure stops."""

from daemon.context import Context
from daemon.migrating.requests import Wish, catalog_session
from migrations import ledger
from migrations.format import PHASES, Phase
from migrations.migrate import migrate_user, read_progress
from migrations.state import ENDED, Progress, State


def wish_to_go_on(
    context: Context, database: str, migration: str, until: Phase | None
) -> Wish | None:
    """Return the wish that goes on in a database; None if it has nothing left to do.

    Each is applied up to `until`, or up to its gate without one.
    """
    with catalog_session(context, database) as session:
        progress = read_progress(session, migrate_user(session)).get(migration, Progress())
    if progress.state in ENDED:
        return None
    if until is None:
        waits = progress.state is State.WAITING_GATE
        return None if waits else Wish(migration)
    if progress.phase and PHASES.index(progress.phase) >= PHASES.index(until):
        return None
    return Wish(migration, until=until)


def asked_until(context: Context, database: str, migration: str) -> Phase | None:
    """Return the phase up to which a migration was last applied in a database."""
    with catalog_session(context, database) as session:
        last = ledger.last_until(session, migrate_user(session), migration)
    return Phase(last) if last else None
