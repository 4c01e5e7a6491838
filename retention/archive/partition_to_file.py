"""Archiving of a whole partition: detach it, write it to a file, optionally drop it.

All its frames are ledgered in one transaction, which also drops the partition if asked. No row is
deleted singly, and a crash leaves either the partition or its archive.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from psycopg import sql

from execution.control import StepControl
from execution.step import DatabaseStep, Outcome, Status
from postgres.identifiers import Relation
from postgres.session import Session
from retention.archive import ledger
from retention.archive.archive_file import ArchiveFile, TableArchive
from retention.archive.manifest import Entry
from retention.partitions import detach
from retention.partitions.detach import PartitionError
from retention.partitions.expired import Partition

FRAME_BLOCKS = 8192
"""Heap blocks per frame (64 MB)."""

_LEAVES = sql.SQL(
    """
    SELECT n.nspname::text AS schema, c.relname::text AS name,
           pg_relation_size(c.oid) / current_setting('block_size')::bigint AS blocks
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r'
      AND (c.oid = %(oid)s
           OR c.oid IN (SELECT relid FROM pg_catalog.pg_partition_tree(%(oid)s)))
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
    """
        SELECT count(*) AS rows, min(age)::text AS first, max(age)::text AS last
        FROM (SELECT {age} AS age {range}) b
    """
)
_AGE = sql.SQL("c.{column}")
_UUID = sql.SQL('c.{column}::text COLLATE "C"')
_COPY = sql.SQL("COPY (SELECT {columns} {range}) TO STDOUT (FORMAT text, ENCODING 'UTF8')")


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivePartition(DatabaseStep):
    """Detach a partition, write it to the file of a month (such as 2026-11), drop it if `drop`."""

    part: Partition
    archive: TableArchive
    month: str
    instance: str
    drop: bool
    alone: bool = True
    name: str = "archive"
    lock: str = "SHARE UPDATE EXCLUSIVE; on the partition ACCESS EXCLUSIVE"

    def statement(self) -> str:
        """Return the statements for people to read."""
        end = ""
        if self.drop:
            end = f"; DROP TABLE {self.part.table}"
        return f"{detach.describe_detach(self.part)}; COPY {self.part.table} TO STDOUT{end}"

    def apply(self, session: Session, control: StepControl) -> Outcome:
        """Run them. Raises OSError if the archive is not writable or the partition has changed."""
        record = detach.detach_partition(session, control, self.part, self.instance)
        if record is None:
            return Outcome(Status.DONE, "the partition is gone")
        with self.archive.open_file(
            self.month, partial(ledger.batches_by_file, session, self.archive, self.month)
        ) as file:
            entries = control.attempt(lambda: self._moved(session, control, file, record))
            file.committed(entries)
        rows = sum(entry.frame.rows for entry in entries)
        return Outcome(Status.DONE, rows=rows, bytes=sum(entry.frame.length for entry in entries))

    def _moved(
        self, session: Session, control: StepControl, file: ArchiveFile, record: str
    ) -> list[Entry]:
        session.set_timeouts(control.remaining_seconds())
        with session.transaction():
            detach.lock_partition(session, self.part, readers=not self.drop)
            self._as_planned(session)
            file.begin()
            entries: list[Entry] = []
            for first, last, copy in self._pieces(session):
                frame = file.append(partial(session.copy_out, copy))
                entries.append(Entry(str(uuid.uuid4()), frame, first, last))
                ledger.record_batch(session, self.archive, file.name, entries[-1])
                control.advance(sum(entry.frame.rows for entry in entries), self.part.rows)
                session.set_timeouts(control.remaining_seconds())
            if self.drop:
                detach.drop_partition(session, self.part)
            detach.record_settled(session, record)
        return entries

    def _as_planned(self, session: Session) -> None:
        """Raise PartitionError if columns have changed since planning.

        The copy would be incomplete.
        """
        there = {(row["name"], row["type"]) for row in session.rows(_NOW, (self.part.oid,))}
        if there != set(self.archive.columns):
            changed = f"the columns of {self.part.table} have changed since planning"
            raise PartitionError(f"{changed}; the next run plans again")

    def _pieces(self, session: Session) -> Iterator[tuple[str, str, sql.Composed]]:
        """Yield the age bounds and the COPY of each non-empty piece of the heap."""
        column = sql.Identifier(self.part.expired.column)
        age = (_UUID if self.part.expired.uuid_ages else _AGE).format(column=column)
        columns = sql.SQL(", ").join(
            [sql.Identifier("c", name) for name, _ in self.archive.columns]
        )
        for leaf in session.rows(_LEAVES, {"oid": self.part.oid}):
            for block in range(0, leaf["blocks"], FRAME_BLOCKS):
                span = _RANGE.format(
                    leaf=Relation(leaf["schema"], leaf["name"]).identifier(),
                    first=sql.Literal(f"({block},0)"),
                    end=sql.Literal(f"({block + FRAME_BLOCKS},0)"),
                )
                ages = session.rows(_BOUNDS.format(age=age, range=span))[0]
                if ages["rows"]:
                    yield (
                        ages["first"] or "",
                        ages["last"] or "",
                        _COPY.format(columns=columns, range=span),
                    )
