"""The manifest beside each archive file: it identifies the writer and outlives the database.

JSON lines: a header, then one line per committed batch. Lines missing after a crash are restored
from the ledger. Lines that the ledger lacks mean that the database is a copy or was reset to an
earlier state.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version

from postgres.identifiers import ColumnTypes
from retention.archive.frame import Frame

FORMAT = "PostgreSQL COPY text, UTF-8, zstd; one frame a batch"

"""The version of the format; columns are stored as names and types in line order."""


@dataclass(frozen=True, slots=True)
class Writer:
    """The writer of a file.

    Only a writer equal in every field may append to it, cut it or delete it.
    """

    instance: str
    system_identifier: str
    database_oid: int
    database: str
    schema: str
    table: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One committed batch: its id, position and ages."""

    batch: str
    frame: Frame
    first: str
    last: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """A parsed manifest."""

    writer: Writer
    columns: ColumnTypes
    entries: Sequence[Entry]

    @property
    def end(self) -> int:
        """Return the end of the last batch in bytes."""
        return max((entry.frame.position + entry.frame.length for entry in self.entries), default=0)


def header(writer: Writer, columns: ColumnTypes, created_at: str) -> bytes:
    """Return the first line."""
    fields = {
        "format": FORMAT,
        "sereno": version("sereno"),
        "created_at": created_at,
        **asdict(writer),
    }
    return _line({**fields, "columns": [list(column) for column in columns]})


def line(entry: Entry) -> bytes:
    """Return the line of one batch."""
    return _line(
        {"batch": entry.batch, **asdict(entry.frame), "first": entry.first, "last": entry.last}
    )


def read(text: bytes) -> Manifest | None:
    """Parse a manifest; None if it is not one. A torn last line is ignored."""
    try:
        first, *rest = text.decode().splitlines(keepends=True)
        fields = json.loads(first)
        writer = Writer(**{name: fields[name] for name in Writer.__dataclass_fields__})
        columns = tuple((str(name), str(kind)) for name, kind in fields["columns"])
        entries = [_entry(json.loads(one)) for one in rest if one.endswith("\n")]
    except (ValueError, KeyError, TypeError):
        return None
    return Manifest(writer, columns, entries)


def _entry(fields: dict[str, object]) -> Entry:
    frame = Frame(**{name: fields[name] for name in Frame.__dataclass_fields__})  # type: ignore[arg-type]
    return Entry(str(fields["batch"]), frame, str(fields["first"]), str(fields["last"]))


def _line(fields: dict[str, object]) -> bytes:
    return json.dumps(fields, ensure_ascii=False).encode() + b"\n"
