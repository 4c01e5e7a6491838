"""How far statements in flight are, as the server itself counts it (manual, 27.4 Progress Reporting)."""

from psycopg import sql

from postgres.connection import Session
from postgres.pace import Done

_BLOCKS = sql.SQL(
    """
    SELECT pid, heap_blks_scanned AS count, heap_blks_total AS total, phase
    FROM pg_catalog.pg_stat_progress_vacuum WHERE datname = current_database()
    UNION ALL
    SELECT pid, sample_blks_scanned, sample_blks_total, phase
    FROM pg_catalog.pg_stat_progress_analyze WHERE datname = current_database()
    """
)


def blocks(session: Session) -> dict[int, Done]:
    """Return how many blocks each VACUUM and ANALYZE of this database has read, by the pid of its backend."""
    return {row["pid"]: Done(row["count"], row["total"], f"blocks, {row['phase']}") for row in session.rows(_BLOCKS)}
