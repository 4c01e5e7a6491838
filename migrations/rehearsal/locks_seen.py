"""The locks that the files of a migration really take, read from pg_locks after each statement."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from migrations.statement_locks import ACCESS_SHARE, STRENGTH
from migrations.statements import TableLock
from migrations.steps.lock_tables import server_mode, strongest
from postgres.session import Session

_HELD = sql.SQL(
    """
    SELECT n.nspname::text AS schema, c.relname::text AS name, l.mode
    FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_class c ON c.oid = l.relation
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE l.locktype = 'relation' AND l.granted AND l.pid = {pid}
      AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
      AND c.relkind IN ('r', 'p')
      AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'sereno')
    """
)
_BUILDING = sql.SQL(
    "{held} AND EXISTS (SELECT FROM pg_catalog.pg_stat_activity a WHERE a.pid = l.pid "
    "AND a.state = 'active' AND a.query ~* 'concurrently')"
)
_WORDS = {server_mode(mode): mode for mode in STRENGTH}
SAMPLE_SECONDS = 0.002


class LocksSeen:
    """Collects the locks of one session by file."""

    def __init__(self) -> None:
        self._seen: dict[str, set[TableLock]] = {}
        self._guard = threading.Lock()

    def observe(self, session: Session, file: str, _statement: int) -> None:
        """Read the locks of a session after one of its statements."""
        self._add(file, session, session.facts.pid)

    @contextmanager
    def sampling(self, second: Session, pid: int, file: str) -> Iterator[None]:
        """Sample the locks of another session for the body: those of a concurrent build."""
        ended = threading.Event()

        def sample() -> None:
            while not ended.is_set():
                try:
                    self._add(file, second, pid, building=True)
                except psycopg.Error:
                    return
                time.sleep(SAMPLE_SECONDS)

        thread = threading.Thread(target=sample, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def has_seen(self, file: str) -> bool:
        """Return whether a statement of a file was run."""
        return file in self._seen

    def by_file(self) -> dict[str, list[TableLock]]:
        """Return the strongest lock of each table, by file."""
        return {file: strongest(seen) for file, seen in sorted(self._seen.items())}

    def _add(self, file: str, session: Session, pid: int, *, building: bool = False) -> None:
        query = _HELD.format(pid=sql.Literal(pid))
        if building:
            query = _BUILDING.format(held=query)
        rows = session.rows(query, keep=False)
        found = {
            TableLock(row["schema"], row["name"], _WORDS[row["mode"]])
            for row in rows
            if _WORDS.get(row["mode"], ACCESS_SHARE) != ACCESS_SHARE
        }
        with self._guard:
            self._seen.setdefault(file, set()).update(found)
