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
    UNION ALL
    SELECT pid, blocks_done, blocks_total,
           phase || CASE WHEN current_locker_pid > 0 THEN format(' (pid %s)', current_locker_pid) ELSE '' END
    FROM pg_catalog.pg_stat_progress_create_index WHERE datname = current_database()
    """
)


_BEHIND = sql.SQL(
    """
    SELECT ours.pid AS pid, format('pid %s (%s)', w.pid, coalesce(nullif(w.application_name, ''), 'no name')) AS who
    FROM pg_catalog.pg_stat_activity w
    CROSS JOIN LATERAL unnest(pg_catalog.pg_blocking_pids(w.pid)) ours (pid)
    WHERE w.wait_event_type = 'Lock' AND w.datname = current_database() AND w.application_name NOT LIKE 'sereno/%'
    """
)


def behind(session: Session) -> dict[int, str]:
    """Return who waits for a lock, by the pid that has it."""
    return {row["pid"]: row["who"] for row in session.rows(_BEHIND)}


def blocks(session: Session) -> dict[int, Done]:
    """Return how many blocks VACUUM, ANALYZE and index builds in this database have read, by the backends' pids."""
    return {row["pid"]: Done(row["count"], row["total"], f"blocks, {row['phase']}") for row in session.rows(_BLOCKS)}
