"""A partition whose rows have all expired is taken out of its table, and written to a file as a whole.

All of its frames are ledgered in one transaction, which drops the partition as well if that is told: nothing is
deleted row by row, and a crash leaves either the partition or its archive.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from psycopg import sql

from execution.control import Pace
from execution.step import Outcome, Owned, Status
from postgres.identifiers import Relation
from postgres.session import Session
from retention.archive import ledger
from retention.archive.archive_file import Shelf, Volume
from retention.archive.manifest import Entry
from retention.partitions import detach
from retention.partitions.detach import PartitionError
from retention.partitions.expired import Partition

FRAME_BLOCKS = 8192
"""One frame of the file: 64 MB of the heap."""

_LEAVES = sql.SQL(
    """
    SELECT n.nspname::text AS schema, c.relname::text AS name,
           pg_relation_size(c.oid) / current_setting('block_size')::bigint AS blocks
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND (c.oid = %(oid)s OR c.oid IN (SELECT relid FROM pg_catalog.pg_partition_tree(%(oid)s)))
    ORDER BY c.oid
    """
)
_NOW = sql.SQL(
    "SELECT a.attname::text AS name, pg_catalog.format_type(a.atttypid, a.atttypmod) AS type"
    " FROM pg_catalog.pg_attribute a"
    " WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''"
)
_RANGE = sql.SQL(" FROM ONLY {leaf} c WHERE c.ctid >= {first}::tid AND c.ctid < {end}::tid")
_BOUNDS = sql.SQL(
    "SELECT count(*) AS rows, min(age)::text AS first, max(age)::text AS last FROM (SELECT {age} AS age {range}) b"
)
_AGE = sql.SQL("c.{column}")
_UUID = sql.SQL('c.{column}::text COLLATE "C"')
_COPY = sql.SQL("COPY (SELECT {columns} {range}) TO STDOUT (FORMAT text, ENCODING 'UTF8')")


@dataclass(frozen=True, slots=True)
class PartitionToFile(Owned):
    """Detach it; write it to the file of a month (like 2026-11); drop it, if that is told."""

    part: Partition
    shelf: Shelf
    month: str
    instance: str
    drop: bool
    why: str
    predicted_seconds: float = 0.0
    limit_seconds: float = 12 * 3600.0
    alone: bool = True
    name: str = "archive"
    lock: str = "SHARE UPDATE EXCLUSIVE; on the partition ACCESS EXCLUSIVE"

    @property
    def object(self) -> str:
        """The partition, as in psql."""
        return str(self.part.table)

    def statement(self) -> str:
        """Return what it comes down to."""
        end = f"; DROP TABLE {self.part.table}" if self.drop else ""
        return f"{detach.statements(self.part)}; COPY {self.part.table} TO STDOUT{end}"

    def apply(self, session: Session | None, pace: Pace) -> Outcome:
        """Do it. OSError: the archive cannot be written to, or the partition is not what it was."""
        assert session is not None  # noqa: S101 - the executor of a database job has one
        opened = session
        record = detach.detach(opened, pace, self.part, self.instance)
        if record is None:
            return Outcome(Status.DONE, "it is gone")
        with self.shelf.volume(self.month, partial(ledger.filed, opened, self.shelf, self.month)) as volume:
            entries = pace.attempt(lambda: self._moved(opened, pace, volume, record))
            volume.committed(entries)
        rows = sum(entry.frame.rows for entry in entries)
        return Outcome(Status.DONE, rows=rows, bytes=sum(entry.frame.length for entry in entries))

    def _moved(self, session: Session, pace: Pace, volume: Volume, record: str) -> list[Entry]:
        session.allow(pace.remaining_seconds())
        with session.transaction():
            detach.lock(session, self.part, readers=not self.drop)
            self._as_planned(session)
            volume.begin()
            entries: list[Entry] = []
            for first, last, copy in self._pieces(session):
                frame = volume.append(partial(session.copy_out, copy))
                entries.append(Entry(str(uuid.uuid4()), frame, first, last))
                ledger.file(session, self.shelf, volume.name, entries[-1])
                pace.advance(sum(entry.frame.rows for entry in entries), self.part.rows)
                session.allow(pace.remaining_seconds())
            if self.drop:
                detach.drop(session, self.part)
            detach.settle(session, record)
        return entries

    def _as_planned(self, session: Session) -> None:
        """PartitionError: a column has come, gone or changed since; what is written would not be all of it."""
        there = {(row["name"], row["type"]) for row in session.rows(_NOW, (self.part.oid,))}
        if there != set(self.shelf.columns):
            changed = f"{self.part.table} has other columns than when this was planned"
            raise PartitionError(f"{changed}; the next run looks again")

    def _pieces(self, session: Session) -> Iterator[tuple[str, str, sql.Composed]]:
        """Yield the ages that a piece of the heap is of, and the COPY of it; none without rows."""
        column = sql.Identifier(self.part.expired.column)
        age = (_UUID if self.part.expired.uuids else _AGE).format(column=column)
        columns = sql.SQL(", ").join([sql.Identifier("c", name) for name, _ in self.shelf.columns])
        for leaf in session.rows(_LEAVES, {"oid": self.part.oid}):
            for block in range(0, leaf["blocks"], FRAME_BLOCKS):
                span = _RANGE.format(
                    leaf=Relation(leaf["schema"], leaf["name"]).identifier(),
                    first=sql.Literal(f"({block},0)"),
                    end=sql.Literal(f"({block + FRAME_BLOCKS},0)"),
                )
                ages = session.rows(_BOUNDS.format(age=age, range=span))[0]
                if ages["rows"]:
                    yield ages["first"] or "", ages["last"] or "", _COPY.format(columns=columns, range=span)
