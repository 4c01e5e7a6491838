"""Expired rows leave in small batches, each its own transaction, each beginning where the last one ended.

Two ways to walk, both flat while an old snapshot keeps dead rows in place: along an index on the age column,
from the last value seen; or, without such an index, along the heap by ranges of blocks (TID range scan), each
block read once. A row that changes between being chosen and being deleted has another ctid and stays.
"""

import time
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from postgres.connection import Session
from postgres.identifiers import Relation
from postgres.pace import Pace
from postgres.step import Outcome, Status

FIRST_ROWS = 1000
FEWEST_ROWS = 50
FASTER, SLOWER = 1.2, 0.5

_BY_COLUMN = sql.SQL(
    """
    WITH batch AS MATERIALIZED (
      SELECT t.tableoid, t.ctid, t.{column} AS age FROM {table} t
      WHERE t.{column} < {cutoff} {after}
      ORDER BY t.{column} LIMIT {rows}
    ), gone AS (
      DELETE FROM {table} t USING batch b
      WHERE t.ctid = b.ctid AND t.tableoid = b.tableoid AND t.{column} < {cutoff} RETURNING 1
    )
    SELECT (SELECT count(*) FROM batch) AS chosen, (SELECT count(*) FROM gone) AS deleted,
           (SELECT max(age)::text FROM batch) AS last
    """
)
_AFTER = sql.SQL("AND t.{column} {than} {last}")
_BY_BLOCK = sql.SQL(
    """
    WITH batch AS MATERIALIZED (
      SELECT t.ctid FROM {table} t
      WHERE t.ctid > {last}::tid AND t.ctid < {end}::tid AND t.{column} < {cutoff}
      ORDER BY t.ctid LIMIT {rows}
    ), gone AS (
      DELETE FROM {table} t USING batch b WHERE t.ctid = b.ctid AND t.{column} < {cutoff} RETURNING 1
    )
    SELECT (SELECT count(*) FROM batch) AS chosen, (SELECT count(*) FROM gone) AS deleted,
           (SELECT max(ctid)::text FROM batch) AS last
    """
)
_LEFT = sql.SQL("SELECT EXISTS (SELECT 1 FROM {table} t WHERE t.{column} < {cutoff}) AS some")
_WAITERS = sql.SQL(
    """
    SELECT count(DISTINCT pid) AS waiters FROM pg_catalog.pg_locks
    WHERE NOT granted AND pg_backend_pid() = ANY (pg_catalog.pg_blocking_pids(pid))
    """
)


@dataclass(frozen=True, slots=True)
class Deletion:
    """Delete the rows of `table` whose `column` is before `cutoff` (text, read as the column's own type)."""

    table: Relation
    column: str
    cutoff: str
    why: str
    partitioned: bool = False
    blocks: int | None = None
    """Walk this many heap blocks; None walks an index on the column."""
    estimated_rows: int = 0
    predicted_seconds: float = 0.0
    limit_seconds: float = 12 * 3600.0
    alone: bool = False
    name: str = "delete"
    lock: str = "ROW EXCLUSIVE"

    @property
    def object(self) -> str:
        """The table, as in psql."""
        return str(self.table)

    def statement(self) -> str:
        """Return what one batch comes down to."""
        return (
            sql.SQL("DELETE FROM {} WHERE {} < {}  -- in batches")
            .format(self.table.identifier(), sql.Identifier(self.column), sql.Literal(self.cutoff))
            .as_string(None)
        )

    def apply(self, session: Session | None, pace: Pace) -> Outcome:
        """Delete batch by batch until none is left; look afterwards."""
        assert session is not None  # noqa: S101 - the executor of a database job has one
        walk = _Walk(self, session, pace)
        while walk.next_batch():
            pass
        session.report()  # the jobs that follow plan by the server's counts
        session.allow(pace.remaining_seconds())
        if walk.kept or session.rows(self.composed(_LEFT))[0]["some"]:
            return Outcome(Status.INEFFECTIVE, "a trigger or a concurrent change kept expired rows", rows=walk.deleted)
        return Outcome(Status.DONE, rows=walk.deleted)

    def composed(self, template: sql.SQL, **parts: sql.Composable) -> sql.Composed:
        """Fill names and values in. Values as literals: beside parameters psycopg would read a `%` in a name.

        ONLY, unless the table is partitioned: tables that merely inherit from a listed one are not listed.
        """
        table = sql.SQL("" if self.partitioned else "ONLY ") + self.table.identifier()
        return template.format(
            table=table, column=sql.Identifier(self.column), cutoff=sql.Literal(self.cutoff), **parts
        )


class _Walk:
    """How far one deletion has come."""

    def __init__(self, step: Deletion, session: Session, pace: Pace) -> None:
        self._step, self._session, self._pace = step, session, pace
        self._rows = min(FIRST_ROWS, pace.batch_rows)
        self._last: str | None = None
        self._block = 0
        self._past = False
        self.deleted = 0
        self.kept = False

    def next_batch(self) -> bool:
        """Delete one batch; say whether there may be more."""
        self._pace.proceed()
        began = time.monotonic()
        found, waiters = self._pace.attempt(self._one)
        seconds = time.monotonic() - began
        self.deleted += found["deleted"]
        self._pace.waiters(waiters)
        self._pace.advance(self.deleted, self._step.estimated_rows)
        more = self._move(found)
        self._tune(seconds)
        return more

    def _one(self) -> tuple[dict[str, Any], int]:
        with self._session.transaction():
            self._session.allow(self._pace.remaining_seconds())
            found = self._session.rows(self._batch())[0]
            return found, int(self._session.rows(_WAITERS)[0]["waiters"])

    def _batch(self) -> sql.Composed:
        """Return the statement of the next batch."""
        rows = sql.Literal(self._rows)
        if self._step.blocks is not None:
            last = sql.Literal(self._last or f"({self._block},0)")
            end = sql.Literal(f"({self._block + self._span()},0)")
            return self._step.composed(_BY_BLOCK, rows=rows, last=last, end=end)
        after: sql.Composable = sql.SQL("")
        if self._last is not None:
            than = sql.SQL(">" if self._past else ">=")
            after = _AFTER.format(column=sql.Identifier(self._step.column), than=than, last=sql.Literal(self._last))
        return self._step.composed(_BY_COLUMN, rows=rows, after=after)

    def _span(self) -> int:
        """Return how many blocks hold about one batch, were all their rows expired (100 rows a block)."""
        return max(1, self._rows // 100)

    def _move(self, found: dict[str, Any]) -> bool:
        """Step past what was seen. Rows that a trigger kept would be chosen for ever: past them as well."""
        full = found["chosen"] >= self._rows
        stuck = found["chosen"] > 0 and found["deleted"] == 0
        if self._step.blocks is not None:
            self.kept = self.kept or stuck
            if full:
                self._last = found["last"]
            else:
                self._block += self._span()
                self._last = None
            return self._block < self._step.blocks
        self.kept = self.kept or stuck
        self._past = stuck
        self._last = found["last"]
        return bool(full)

    def _tune(self, seconds: float) -> None:
        """A fifth more after a quick batch, half after a slow one; never above the limit of the configuration."""
        factor = FASTER if seconds < self._pace.batch_seconds else SLOWER
        self._rows = max(min(FEWEST_ROWS, self._pace.batch_rows), min(self._pace.batch_rows, int(self._rows * factor)))
