"""Progress of statements and sessions waiting behind them (manual, 27.4 Progress Reporting)."""

from psycopg import sql

from domain.progress import StepProgress
from postgres.session import Session
from postgres.statement_file import read_statement

_BLOCKS = sql.SQL(
    """
    SELECT pid, heap_blks_scanned AS count, heap_blks_total AS total, phase
    FROM pg_catalog.pg_stat_progress_vacuum WHERE datname = current_database()
    UNION ALL
    SELECT pid, sample_blks_scanned, sample_blks_total, phase
    FROM pg_catalog.pg_stat_progress_analyze WHERE datname = current_database()
    UNION ALL
    SELECT pid, blocks_done, blocks_total,
           phase || CASE WHEN current_locker_pid > 0
                         THEN format(' (pid %s)', current_locker_pid) ELSE '' END
    FROM pg_catalog.pg_stat_progress_create_index WHERE datname = current_database()
    """
)


_BEHIND = read_statement("postgres.catalog", "waiters_behind")


def waiters_behind(session: Session) -> dict[int, str]:
    """Return, by backend pid, why it should yield: a session waits behind it, or it waits too long.

    Read from pg_locks, which every login may read; wait events need pg_monitor.
    """
    return {row["pid"]: row["why"] for row in session.rows(_BEHIND)}


def blocks_done(session: Session) -> dict[int, StepProgress]:
    """Return the blocks processed by VACUUM, ANALYZE and index builds of this database, by pid."""
    return {
        row["pid"]: StepProgress(row["count"], row["total"], f"blocks, {row['phase']}")
        for row in session.rows(_BLOCKS)
    }
