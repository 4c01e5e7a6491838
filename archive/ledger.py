"""What was archived, as the database itself knows it: a row a batch, committed with the batch."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql
from psycopg.types.json import Jsonb

from archive.frame import Frame
from archive.manifest import Columns, Entry, Writer
from archive.volume import Shelf
from postgres.connection import Session
from postgres.identifiers import Relation

TABLE = "archive_batch"

_INSERT = sql.SQL(
    """
    INSERT INTO sereno.archive_batch (id, instance, "schema", "table", destination, file, "position", length, sha256,
                                      rows, first, last, columns)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
    """
)
_FILED = sql.SQL(
    """
    SELECT id::text AS batch, file, "position", length, sha256, rows, first, last
    FROM sereno.archive_batch
    WHERE "schema" = %s AND "table" = %s AND destination = %s AND file LIKE %s
    ORDER BY file, "position"
    """
)


@dataclass(frozen=True, slots=True)
class Moved:
    """One batch that went to another table."""

    batch: str
    to: Relation
    rows: int
    first: str
    last: str


def filed(session: Session, shelf: Shelf, month: str = "") -> dict[str, list[Entry]]:
    """Return what the files of a month (or all) are known to hold, by their names."""
    found: dict[str, list[Entry]] = {}
    writer = shelf.writer
    for row in session.rows(_FILED, (writer.schema, writer.table, shelf.destination, f"{month}%")):
        frame = Frame(row["position"], row["length"], row["sha256"], row["rows"])
        found.setdefault(row["file"], []).append(Entry(row["batch"], frame, row["first"], row["last"]))
    return found


def file(session: Session, shelf: Shelf, name: str, entry: Entry) -> None:
    """Write down a batch that stands in a file."""
    frame, writer = entry.frame, shelf.writer
    where = (name, frame.position, frame.length, frame.sha256, frame.rows)
    who = (entry.batch, writer.instance, writer.schema, writer.table, shelf.destination)
    session.execute(_INSERT, (*who, *where, entry.first, entry.last, _json(shelf.columns)))


def move(session: Session, writer: Writer, moved: Moved, columns: Columns) -> None:
    """Write down a batch that stands in another table."""
    who = (moved.batch, writer.instance, writer.schema, writer.table, str(moved.to))
    session.execute(_INSERT, (*who, None, None, None, None, moved.rows, moved.first, moved.last, _json(columns)))


def _json(columns: Sequence[tuple[str, str]]) -> Jsonb:
    return Jsonb([list(column) for column in columns])
