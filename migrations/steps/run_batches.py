"""A `.batch.sql` file: one transaction a batch, the cursor in the same transaction."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import errors, sql

from domain.cause import Cause
from execution.control import StepControl
from execution.errors import first_line
from migrations import ledger
from migrations.format import BatchOptions, SqlFile
from migrations.ledger import Written
from migrations.read_folder import with_values
from migrations.state import StepRow
from migrations.steps.lock_tables import LockAttempts
from migrations.steps.migration_step import MigrationError, MigrationStep
from postgres.identifiers import Relation, parse_relation
from postgres.session import Session
from retention.rows.row_batches import lock_waiters

_NO_ROW = ("42", "0A", "25", "3F")
"""Classes of errors that no row is to blame for: wrong names, missing rights."""
FIRST_KEYS, FEWEST_KEYS = 500, 50
"""Fewer keys than these take no less time: only a batch that failed is smaller."""
LEAST, MOST, FULL = 0.5, 2.0, 0.9
BATCH_LIMIT_SECONDS = 30.0
LOCK_MILLISECONDS = 300

_BOUNDS = sql.SQL(
    "WITH b AS (SELECT {key} AS k FROM {table} WHERE {after} {key} <= {end} ORDER BY {key} "
    "LIMIT {keys}) SELECT (SELECT b.k::text FROM b ORDER BY b.k LIMIT 1) AS lo, "
    "(SELECT b.k::text FROM b ORDER BY b.k DESC LIMIT 1) AS hi, (SELECT count(*) FROM b) AS keys"
)
_AFTER = sql.SQL("{key} > {last} AND")
_END = sql.SQL("SELECT t.{key}::text AS end FROM {table} t ORDER BY t.{key} DESC LIMIT 1")
_ESTIMATE = sql.SQL(
    """
    SELECT greatest(0, sum(c.reltuples))::bigint AS rows FROM pg_catalog.pg_class c
    WHERE c.oid = to_regclass({name}) AND c.relkind = 'r' OR c.oid IN (
      SELECT p.relid FROM pg_catalog.pg_partition_tree(to_regclass({name})) p WHERE p.isleaf)
    """
)
_KEY = sql.SQL(
    """
    SELECT a.attnotnull AND EXISTS (
      SELECT FROM pg_catalog.pg_index i
      WHERE i.indrelid = a.attrelid AND i.indisunique AND i.indisvalid AND i.indnkeyatts = 1
        AND i.indkey[0] = a.attnum AND i.indpred IS NULL) AS usable
    FROM pg_catalog.pg_attribute a
    WHERE a.attrelid = to_regclass({name}) AND a.attname = {key} AND NOT a.attisdropped
    """
)
_LIMIT = sql.SQL("SET LOCAL statement_timeout = {}; SET LOCAL lock_timeout = {}")


def estimated_rows(session: Session, table: sql.Literal) -> int:
    """Return the rows of a table and its partitions by the statistics; 0 if unknown."""
    return int(session.rows(_ESTIMATE.format(name=table))[0]["rows"] or 0)


MostKeys = Callable[[], int | None]
"""Returns the most keys of the next batch; None for no limit."""


def unlimited() -> None:
    """Return no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunBatches(MigrationStep):
    """Walk a table along a unique key; the file runs for each batch of keys."""

    file: SqlFile
    options: BatchOptions
    last: str | None = None
    """The last key that an earlier run has done."""
    rows_before: int = 0
    first_keys: int = FIRST_KEYS
    most_keys: MostKeys = unlimited
    budget_seconds: float = 600.0
    unpaused: bool = False
    name: str = "fill"

    @property
    def table(self) -> Relation:
        """Return the table that is walked."""
        return parse_relation(self.options.table)

    def statement(self) -> str:
        """Return the statements of one batch."""
        return self.file.text

    def work(self, session: Session, control: StepControl) -> int:
        """Run batches until the key that was the last at the beginning."""
        estimate, end = self._extent(session)
        last, done, keys = self.last, self.rows_before, self._bounded(self.first_keys, control)
        while end is not None:
            control.wait_while_paused()
            began = time.monotonic()
            row = self._tried(session, control, (last, end, keys))
            if row is None:
                keys = max(1, keys // 2)
                continue
            if not row["keys"]:
                break
            last, done = row["hi"], done + row["keys"]
            control.advance(done, max(done, estimate), row["keys"])
            seconds = time.monotonic() - began
            keys = self._bounded(self._tuned(row["keys"], keys, seconds), control)
            control.pause(self.options.pause * seconds, "")
        ledger.add_step(session, self.ref, self._row("done"), rows=done)
        return done - self.rows_before

    def _tried(
        self, session: Session, control: StepControl, bounds: tuple[str | None, str, int]
    ) -> Mapping[str, Any] | None:
        """Run one batch; None if it failed and has to be halved.

        Raises MigrationError if one key fails alone.
        """
        last, end, keys = bounds
        try:
            tries = LockAttempts(self, session, control, self.budget_seconds, [])
            return tries.run(lambda _: self._one(session, control, last, (end, keys)))
        except psycopg.Error as error:
            cancelled = isinstance(error, errors.QueryCanceled) and control.interrupted
            is_no_row = (error.sqlstate or "").startswith(_NO_ROW)
            if session.broken or cancelled or is_no_row:
                raise
            if keys > 1:
                return None
            with self.reading(session, control):
                key = session.rows(self._bounds(last, end, 1))[0]["lo"]
            raise MigrationError(
                Cause.BATCH_FAILED,
                f"the key {self.options.key} = {key} of {self.table} fails alone: "
                f"{first_line(error)}; correct that row, then resume",
            ) from None

    def _one(
        self, session: Session, control: StepControl, last: str | None, rest: tuple[str, int]
    ) -> Mapping[str, Any]:
        began = time.monotonic()
        found: dict[str, Any] = {"keys": 0}

        def work() -> None:
            limit = min(BATCH_LIMIT_SECONDS, control.remaining_seconds())
            session.execute(
                _LIMIT.format(
                    sql.Literal(max(1, int(limit * 1000))), sql.Literal(LOCK_MILLISECONDS)
                )
            )
            found.update(session.rows(self._bounds(last, *rest), keep=False)[0])
            if found["keys"]:
                session.execute(self._text(found["lo"], found["hi"]))
                self.observe(session, self.file.name, 1)

        def record() -> Written:
            control.waiters(lock_waiters(session))
            if not found["keys"]:
                return set()
            return ledger.add(
                session,
                "migration_batch",
                run=self.ref.run,
                migration=self.ref.migration,
                file=self.file.name,
                checksum=self.file.checksum,
                lo=found["lo"],
                hi=found["hi"],
                keys=found["keys"],
                milliseconds=int((time.monotonic() - began) * 1000),
            )

        self.in_transaction(session, control, work, record)
        return found

    def _extent(self, session: Session) -> tuple[int, str | None]:
        """Return the estimated rows, and the last key; None if the table is empty."""
        key, table = sql.Identifier(self.options.key), self.table.identifier()
        with self.reading_now(session):
            name = sql.Literal(str(self.table))
            self._require_key(session, name)
            estimate = estimated_rows(session, name)
            rows = session.rows(_END.format(key=key, table=table), keep=False)
        return estimate, rows[0]["end"] if rows else None

    def _require_key(self, session: Session, name: sql.Literal) -> None:
        """Raise MigrationError unless the walk reaches every row once."""
        key = sql.Literal(self.options.key)
        rows = session.rows(_KEY.format(name=name, key=key), keep=False)
        if not rows:
            raise MigrationError(Cause.ERROR, f"{self.table} has no column {self.options.key}")
        if not rows[0]["usable"]:
            raise MigrationError(
                Cause.BATCH_FAILED,
                f"the key {self.options.key} of {self.table} has to be NOT NULL, with a unique "
                "index on it alone",
            )

    def _bounds(self, last: str | None, end: str, keys: int) -> sql.Composed:
        key = sql.Identifier(self.options.key)
        after: sql.Composable = sql.SQL("")
        if last is not None:
            after = _AFTER.format(key=key, last=sql.Literal(last))
        return _BOUNDS.format(
            key=key,
            table=self.table.identifier(),
            after=after,
            end=sql.Literal(end),
            keys=sql.Literal(keys),
        )

    def _text(self, lo: str, hi: str) -> bytes:
        """Return the statements of one batch, with its keys as literals."""
        values = {"lo": sql.Literal(lo).as_string(None), "hi": sql.Literal(hi).as_string(None)}
        return with_values(self.file.text, values).encode()

    def _tuned(self, had: int, keys: int, seconds: float) -> int:
        """Return the next size: towards the target, by a factor from 0.5 to 2."""
        if had < keys:
            return keys
        target = self.options.target.total_seconds()
        factor = min(MOST, max(LEAST, FULL * target / max(seconds, 1e-3)))
        return max(FEWEST_KEYS, int(keys * factor))

    def _bounded(self, keys: int, control: StepControl) -> int:
        return max(1, min(keys, self.most_keys() or control.batch_rows, control.batch_rows))

    def _row(self, state: str) -> StepRow:
        return StepRow(self.phase, self.file.name, self.file.checksum, 0, state)
