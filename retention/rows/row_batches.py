"""Expired rows taken in small batches, one transaction each, each continuing after the last.

Two walks, both unaffected by dead rows that an old snapshot keeps: along an index on the age column
from the last value seen, or without such an index along the heap by block ranges (TID range scan).
A batch sees one snapshot (REPEATABLE READ), so the rows counted, taken and recorded are the same; a
concurrent change of one of them restarts the batch (SQLSTATE 40001).
"""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import LiteralString

from psycopg import sql

from execution.control import StepControl
from postgres.identifiers import Relation
from postgres.session import Session
from retention.rows.tamper_check import TamperCheck

FIRST_ROWS = 1000
FEWEST_ROWS = 50
LEAST, MOST, FULL = 0.5, 2.0, 0.9

_BY_COLUMN = sql.SQL(
    "SELECT {found} FROM {table} c WHERE {due} {after} ORDER BY c.{column} LIMIT {rows}"
)
_AFTER = sql.SQL("AND c.{column} {than} {last}")
_BY_BLOCK = sql.SQL(
    "SELECT {found} FROM {table} c WHERE c.ctid > {last}::tid AND c.ctid < {end}::tid AND {due} "
    "ORDER BY c.ctid LIMIT {rows}"
)
_BOUNDS = sql.SQL(
    "SELECT count(*) AS chosen, min(age)::text AS first, max(age)::text AS last, "
    "max(place)::text AS place{places}"
    " FROM ({chosen}) b"
)
_PLACES = sql.SQL(", array_agg(place)::text AS places")
_PINNED = sql.SQL("DELETE FROM {table} t WHERE t.ctid = ANY ({places})")
_DELETE = sql.SQL("DELETE FROM {table} t WHERE t.ctid = ANY (ARRAY({chosen}))")
_DELETE_FROM_TREE = sql.SQL(
    "DELETE FROM {table} t USING ({chosen}) b WHERE t.tableoid = b.part AND t.ctid = b.place"
    " AND t.{column} BETWEEN {first} AND {last}"
)
_NESTED = sql.SQL("SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off")
"""Rows of a partitioned table are found by their TIDs; hash and merge joins would scan whole parts.
"""
_DUE = sql.SQL("{alias}{column} < {cutoff}")
_DUE_UUID = sql.SQL(
    "{alias}{column} < {cutoff} AND pg_catalog.substr({alias}{column}::text, 15, 1) = '7'"
)
"""UUIDs of other versions have no age."""
_AGE: LiteralString = "c.{column} AS age"
_UUID: LiteralString = 'c.{column}::text COLLATE "C" AS age'
_PLACE: LiteralString = ", c.ctid AS place"
_NOWHERE: LiteralString = ", NULL::tid AS place"
"""No TID is selected, so an index-only scan is possible."""
_WHOLE = sql.SQL("DELETE FROM {table} WHERE {due}")
_SOME = sql.SQL("SELECT EXISTS (SELECT FROM {table} c WHERE {due}) AS some")
_STILL = sql.SQL("SELECT EXISTS (SELECT FROM {table} c WHERE {due} {after}) AS some")
_WAITERS = sql.SQL(
    """
    SELECT count(DISTINCT pid) AS waiters FROM pg_catalog.pg_locks
    WHERE NOT granted AND pg_backend_pid() = ANY (pg_catalog.pg_blocking_pids(pid))
    """
)


@dataclass(frozen=True, slots=True)
class ExpiredRows:
    """The rows of `table` whose `column` is before `cutoff`, text read as the column's type."""

    table: Relation
    column: str
    cutoff: str
    partitioned: bool = False
    blocks: int | None = None
    """Walk this many heap blocks; None walks an index on the column."""
    estimated_rows: int = 0
    condition: sql.SQL | None = None
    """A further SQL condition from the configuration."""
    owners: frozenset[str] = frozenset()
    """The owners of the trust domain of the table."""
    epoch: str = ""
    """The unit of an integer column since 1970."""
    uuid_ages: bool = False
    """Whether ages are UUIDs of version 7, which have no min() before server 18."""
    also: tuple[Relation, ...] = ()
    """Tables whose rows leave with them."""
    shape: str = ""
    """The shape of all these tables at planning time."""
    pinned: bool = False
    """Choose the rows of a batch once by TID, since others leave with them. Not for partitioned
    tables."""

    def composed(self, template: sql.SQL, **parts: sql.Composable) -> sql.Composed:
        """Fill names and values into a template.

        Values are literals: with parameters psycopg would interpret a `%` in a name. ONLY excludes
        inheritance children unless the table is partitioned.
        """
        column = sql.Identifier(self.column)
        due = self._due(sql.SQL("c."))
        table = sql.SQL("" if self.partitioned else "ONLY ") + self.table.identifier()
        return template.format(table=table, column=column, due=due, **parts)

    def whole(self) -> sql.Composed:
        """Return one DELETE with the effect of all batches."""
        table = sql.SQL("" if self.partitioned else "ONLY ") + self.table.identifier()
        return _WHOLE.format(table=table, due=self._due(sql.SQL("")))

    def _due(self, alias: sql.SQL) -> sql.Composed:
        template = _DUE_UUID if self.uuid_ages else _DUE
        due = template.format(
            alias=alias, column=sql.Identifier(self.column), cutoff=sql.Literal(self.cutoff)
        )
        if self.condition is None:
            return due
        # the newline ends a comment in the condition
        return sql.Composed([due, sql.SQL(" AND ("), self.condition, sql.SQL("\n)")])

    def some(self, session: Session) -> bool:
        """Return whether there are any."""
        return bool(session.rows(self.composed(_SOME))[0]["some"])


@dataclass(frozen=True, slots=True)
class Batch:
    """The chosen rows of one batch; `delete` deletes them and accepts a RETURNING clause."""

    chosen: int
    first: str
    last: str
    delete: sql.Composed
    places: sql.Composable | None = None
    """Their TIDs as an array, if they are pinned."""


def lock_waiters(session: Session) -> int:
    """Return how many sessions wait for a lock of this one."""
    return int(session.rows(_WAITERS)[0]["waiters"])


TakeBatch = Callable[[Batch], tuple[int, int]]
"""Takes the rows of one batch out of the table, inside its transaction; returns the number of rows
taken and the number of rows added to the archive ledger."""


class RowWalk:
    """The walk over the expired rows of one table."""

    def __init__(self, expired: ExpiredRows, session: Session, control: StepControl) -> None:
        self._expired, self._session, self._control = expired, session, control
        self._rows = min(FIRST_ROWS, control.batch_rows)
        self._last: str | None = None
        self._block = 0
        self._past = False
        self._tamper_check = TamperCheck(
            session, (expired.table, *expired.also), expired.shape, tree=expired.partitioned
        )
        self.taken = 0
        self.kept = False
        """Whether rows were kept by a trigger."""

    def all(self, take: TakeBatch, done: Callable[[], object] = lambda: None) -> None:
        """Take batches until none is left; `done` is called after each commit."""
        with ExitStack() as stack:
            self._take_all(take, done, stack)
        self._session.flush_statistics()  # the jobs that follow plan by these statistics
        self._session.set_timeouts(self._control.remaining_seconds())

    def _take_all(self, take: TakeBatch, done: Callable[[], object], stack: ExitStack) -> None:
        self._tamper_check.open_second_session(stack)
        more = True
        while more:
            self._control.wait_while_paused()
            began = time.monotonic()
            chosen, took, last, waiters = self._control.attempt(lambda: self._one(take))
            self.taken += took
            if chosen:  # otherwise the attempt found no row
                done()
                self._tamper_check.committed()
            self._control.waiters(waiters)
            self._control.advance(self.taken, self._expired.estimated_rows)
            more = self._move(chosen, took, last)
            seconds = time.monotonic() - began
            self._tune(seconds)
            if more:
                self._control.rest(seconds)

    def left(self) -> bool:
        """Return whether expired rows are left behind the end of the walk.

        Rows before it were seen; searching the index from its start would read everything dead.
        """
        if self.kept or self._expired.blocks is not None or self._last is None:
            return self.kept or self._expired.some(self._session)
        return bool(
            self._session.rows(self._expired.composed(_STILL, after=self._after()))[0]["some"]
        )

    def _one(self, take: TakeBatch) -> tuple[int, int, str | None, int]:
        with self._session.transaction(repeatable=True):
            self._session.set_timeouts(self._control.remaining_seconds())
            self._tamper_check.before()
            placed = self._expired.pinned or self._expired.blocks is not None
            age = _UUID if self._expired.uuid_ages else _AGE
            chosen = self._chosen(age + (_PLACE if placed else _NOWHERE))
            places = _PLACES if self._expired.pinned else sql.SQL("")
            found = self._session.rows(_BOUNDS.format(chosen=chosen, places=places))[0]
            took, written = take(self._batch(found)) if found["chosen"] else (0, 0)
            self._tamper_check.after(written)
            last = found["place"] if self._expired.blocks is not None else found["last"]
            return found["chosen"], took, last, lock_waiters(self._session)

    def _batch(self, found: dict[str, object]) -> Batch:
        first, last = str(found["first"]), str(found["last"])
        if self._expired.pinned:
            places = sql.SQL("{}::tid[]").format(sql.Literal(found["places"]))
            delete = self._expired.composed(_PINNED, places=places)
            return Batch(int(str(found["chosen"])), first, last, delete, places)
        if not self._expired.partitioned:
            delete = self._expired.composed(_DELETE, chosen=self._chosen("c.ctid"))
        else:
            self._session.execute(_NESTED)
            chosen = self._chosen("c.tableoid AS part, c.ctid AS place")
            bounds = {"first": sql.Literal(first), "last": sql.Literal(last)}
            delete = self._expired.composed(_DELETE_FROM_TREE, chosen=chosen, **bounds)
        return Batch(int(str(found["chosen"])), first, last, delete)

    def _chosen(self, found: LiteralString) -> sql.Composed:
        """Return the query of the next batch."""
        columns = sql.SQL(found).format(column=sql.Identifier(self._expired.column))
        rows = sql.Literal(self._rows)
        if self._expired.blocks is not None:
            last = sql.Literal(self._last or f"({self._block},0)")
            end = sql.Literal(f"({self._block + self._span()},0)")
            return self._expired.composed(_BY_BLOCK, found=columns, rows=rows, last=last, end=end)
        return self._expired.composed(_BY_COLUMN, found=columns, rows=rows, after=self._after())

    def _after(self) -> sql.Composable:
        if self._last is None:
            return sql.SQL("")
        than = sql.SQL(">" if self._past else ">=")
        return _AFTER.format(
            column=sql.Identifier(self._expired.column), than=than, last=sql.Literal(self._last)
        )

    def _span(self) -> int:
        """Return the number of blocks per batch, assuming 100 expired rows per block."""
        return max(1, self._rows // 100)

    def _move(self, chosen: int, took: int, last: str | None) -> bool:
        """Advance past the batch and past rows kept by a trigger; return whether there is more."""
        full = chosen >= self._rows
        stuck = chosen > 0 and took == 0
        self.kept = self.kept or took < chosen
        if self._expired.blocks is not None:
            if full:
                self._last = last
            else:
                self._block += self._span()
                self._last = None
            return self._block < self._expired.blocks
        if last is not None:
            self._past, self._last = stuck, last
        return full

    def _tune(self, seconds: float) -> None:
        """Adapt the batch size to the target duration, by a factor from 0.5 to 2."""
        factor = min(MOST, max(LEAST, FULL * self._control.batch_seconds() / seconds))
        self._rows = max(
            min(FEWEST_ROWS, self._control.batch_rows),
            min(self._control.batch_rows, int(self._rows * factor)),
        )
