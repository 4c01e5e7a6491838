"""What a file of the archive says of itself, beside it: so that it outlives the database, and who wrote it is known.

JSON, a line each: first the header, then one line for every batch that was committed. What the last lines miss after
a crash is in the ledger of the database; what they have and the ledger has not, means that the database went back.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version

from postgres.identifiers import ColumnTypes
from retention.archive.frame import Frame

FORMAT = "PostgreSQL COPY text, UTF-8, zstd; one frame a batch"

"""Names and types, in the order of the lines."""


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes, and from where: only what all of it says of itself is ever appended to, cut off or removed."""

    instance: str
    system_identifier: str
    database_oid: int
    database: str
    schema: str
    table: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One committed batch: its id in the ledger, where it stands, the ages of its rows."""

    batch: str
    frame: Frame
    first: str
    last: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest as it was read."""

    writer: Writer
    columns: ColumnTypes
    entries: Sequence[Entry]

    @property
    def end(self) -> int:
        """Where the last batch ends."""
        return max((entry.frame.position + entry.frame.length for entry in self.entries), default=0)


def header(writer: Writer, columns: ColumnTypes, created_at: str) -> bytes:
    """Return the first line."""
    said = {"format": FORMAT, "sereno": version("sereno"), "created_at": created_at, **asdict(writer)}
    return _line({**said, "columns": [list(column) for column in columns]})


def line(entry: Entry) -> bytes:
    """Return the line of one batch."""
    return _line({"batch": entry.batch, **asdict(entry.frame), "first": entry.first, "last": entry.last})


def read(text: bytes) -> Manifest | None:
    """Read it; None: this is no manifest of ours. A last line that a crash has torn is left out."""
    try:
        first, *rest = text.decode().splitlines(keepends=True)
        said = json.loads(first)
        writer = Writer(**{name: said[name] for name in Writer.__dataclass_fields__})
        columns = tuple((str(name), str(kind)) for name, kind in said["columns"])
        entries = [_entry(json.loads(one)) for one in rest if one.endswith("\n")]
    except (ValueError, KeyError, TypeError):
        return None
    return Manifest(writer, columns, entries)


def _entry(said: dict[str, object]) -> Entry:
    frame = Frame(**{name: said[name] for name in Frame.__dataclass_fields__})  # type: ignore[arg-type]
    return Entry(str(said["batch"]), frame, str(said["first"]), str(said["last"]))


def _line(said: dict[str, object]) -> bytes:
    return json.dumps(said, ensure_ascii=False).encode() + b"\n"
