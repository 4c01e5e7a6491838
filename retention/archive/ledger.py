"""The archive ledger: one row per batch in the database itself, committed with the batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from postgres.fencing.ownership import writer_may_delete
from postgres.identifiers import ColumnTypes, Relation
from postgres.session import Session
from postgres.statement_file import read_statement
from retention.archive.archive_file import TableArchive, table_folders
from retention.archive.frame import Frame
from retention.archive.manifest import Entry, Writer

TABLE = "archive_batch"

_INSERT = sql.SQL(
    """
    INSERT INTO sereno.archive_batch (id, instance, "schema", "table", destination, file,
                                      "position", length, sha256, rows, first, last, columns)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
    """
)
TRUSTED = writer_may_delete(*map(sql.Identifier, ("schema", "table", "written_by")))
"""Whether the login that wrote a batch may delete from its table: no other batch counts."""
_UNTRUSTED = sql.SQL(
    """
    SELECT id::text AS batch, "schema", "table", written_by::text AS writer
    FROM sereno.archive_batch WHERE NOT {trusted} ORDER BY ordinal
    """
)
_FILED = sql.SQL(
    """
    SELECT id::text AS batch, "schema", "table", destination, file, "position", length, sha256,
           rows, first, last, columns, restored_at IS NOT NULL AS restored
    FROM sereno.archive_batch
    WHERE file IS NOT NULL AND destination LIKE 'file://%' AND expired_at IS NULL
      AND {trusted} {which}
    ORDER BY destination, file, "position"
    """
)
_MOVES = sql.SQL(
    """
    SELECT "schema", "table", destination, count(*) AS batches, sum(rows)::bigint AS rows,
           min(first) AS first, max(last) AS last
    FROM sereno.archive_batch WHERE file IS NULL AND {trusted}
    GROUP BY "schema", "table", destination
    ORDER BY "schema", "table", destination
    """
)
_OF_TABLE = sql.SQL('AND "schema" = {schema} AND "table" = {table} AND destination = {destination}')
_MARK = sql.SQL(
    "UPDATE sereno.archive_batch SET restored_at = now() WHERE id = %s AND restored_at IS NULL"
)
_COLUMNS = sql.SQL(
    """
    SELECT a.attname::text AS name, pg_catalog.format_type(a.atttypid, a.atttypmod) AS type
    FROM pg_catalog.pg_attribute a
    JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %s AND c.relname = %s AND a.attname::text = ANY (%s)
      AND NOT a.attisdropped AND a.attgenerated = ''
    ORDER BY pg_catalog.array_position(%s::text[], a.attname::text)
    """
)


_KIND = read_statement("retention.archive", "restore_target")


@dataclass(frozen=True, slots=True)
class LedgeredBatch:
    """One batch stored in a file."""

    table: Relation
    path: str
    entry: Entry
    columns: ColumnTypes
    restored: bool = False


@dataclass(frozen=True, slots=True)
class MovedBatch:
    """One batch moved to another table."""

    batch: str
    to: Relation
    rows: int
    first: str
    last: str


def all_batches(session: Session) -> list[LedgeredBatch]:
    """Return all batches stored in files."""
    filed = session.rows(_FILED.format(trusted=TRUSTED, which=sql.SQL("")))
    return [_filed(row) for row in filed if _is_own_file(row)]


def untrusted_batches(session: Session) -> list[str]:
    """Return a line per batch that its writer had no right to record."""
    lines = [
        f"batch {row['batch']} of {Relation(row['schema'], row['table'])} does not count: its "
        f"writer, {row['writer']}, has no right to remove rows of that table"
        for row in session.rows(_UNTRUSTED.format(trusted=TRUSTED))
    ]
    filed = session.rows(_FILED.format(trusted=TRUSTED, which=sql.SQL("")))
    lines += [
        f"batch {row['batch']} of {Relation(row['schema'], row['table'])} does not count: its file "
        f"is that of another table: {row['file']}"
        for row in filed
        if not _is_own_file(row)
    ]
    return lines


def _is_own_file(row: dict[str, Any]) -> bool:
    """Return whether a batch lies in the folder of its own table."""
    folders = str(row["file"]).split("/")
    return folders[1:-1] == list(table_folders("", row["schema"], row["table"])[1:])


def moved_batches(session: Session) -> list[str]:
    """Return a line per table pair that rows were moved between, with batches, rows and ages."""
    return [
        f"{Relation(row['schema'], row['table'])} moved to {row['destination']}: "
        f"{row['batches']} batches, "
        f"{row['rows']} rows, from {row['first']} to {row['last']}"
        for row in session.rows(_MOVES.format(trusted=TRUSTED))
    ]


def batches_by_file(session: Session, archive: TableArchive, month: str) -> dict[str, list[Entry]]:
    """Return the batches of a month by file name."""
    which = _OF_TABLE.format(
        schema=sql.Literal(archive.writer.schema),
        table=sql.Literal(archive.writer.table),
        destination=sql.Literal(archive.destination),
    )
    found: dict[str, list[Entry]] = {}
    for row in session.rows(_FILED.format(trusted=TRUSTED, which=which)):
        folder, _, name = row["file"].rpartition("/")
        if folder == archive.folder and name.startswith(month):
            found.setdefault(name, []).append(_filed(row).entry)
    return found


def mark_restored(session: Session, batch: LedgeredBatch) -> bool:
    """Mark a batch as restored; return whether it was not marked before."""
    return session.execute(_MARK, (batch.entry.batch,)) == 1


def columns(session: Session, table: Relation, names: Sequence[str]) -> ColumnTypes:
    """Return the current types of those columns that still exist."""
    wanted = list(names)
    rows = session.rows(_COLUMNS, (table.schema, table.name, wanted, wanted))
    return tuple((row["name"], row["type"]) for row in rows)


def mismatch(session: Session, source: Relation, to: Relation) -> str:
    """Return why a relation cannot receive the rows of another; empty if it can."""
    found = session.rows(_KIND, (source.schema, source.name, to.schema, to.name))
    if not found:
        return "there is no such table"
    row = found[0]
    if row["kind"] not in {"r", "p"} or row["foreign"]:
        return "it is not a table of this database"
    if row["itself"]:
        return "it is the table that the rows leave, or one of its partitions"
    if row["unlogged"]:
        return "it is unlogged: a crash would empty it"
    return ""


def _filed(row: dict[str, Any]) -> LedgeredBatch:
    frame = Frame(row["position"], row["length"], row["sha256"], row["rows"])
    entry = Entry(row["batch"], frame, row["first"], row["last"])
    path = f"{row['destination'].removeprefix('file://')}/{row['file']}"
    kinds = tuple((str(name), str(kind)) for name, kind in row["columns"])
    return LedgeredBatch(
        Relation(row["schema"], row["table"]), path, entry, kinds, restored=row["restored"]
    )


def record_batch(session: Session, archive: TableArchive, name: str, entry: Entry) -> None:
    """Record a batch stored in a file."""
    frame, writer = entry.frame, archive.writer
    where = (f"{archive.folder}/{name}", frame.position, frame.length, frame.sha256, frame.rows)
    who = (entry.batch, writer.instance, writer.schema, writer.table, archive.destination)
    session.execute(_INSERT, (*who, *where, entry.first, entry.last, _json(archive.columns)))


def record_move(session: Session, writer: Writer, moved: MovedBatch, columns: ColumnTypes) -> None:
    """Record a batch moved to another table."""
    who = (moved.batch, writer.instance, writer.schema, writer.table, str(moved.to))
    session.execute(
        _INSERT, (*who, None, None, None, None, moved.rows, moved.first, moved.last, _json(columns))
    )


def _json(columns: Sequence[tuple[str, str]]) -> Jsonb:
    return Jsonb([list(column) for column in columns])
