"""Types of job options that name objects of a database, each parsed from text."""

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, Literal

from psycopg import sql
from pydantic import BeforeValidator, PlainSerializer

from domain.options import parsed
from domain.units import quote_value
from postgres.identifiers import Relation, parse_name, parse_relation
from postgres.table_patterns import TablePattern, parse_pattern
from retention.files.delete_files import SHALLOWEST


@dataclass(frozen=True, slots=True)
class ArchiveDestination:
    """The destination of archived rows: a folder, or a table of the same database."""

    folder: str = ""
    table: Relation | None = None

    def __str__(self) -> str:
        """Return the text that `parse_destination` reads."""
        if self.table:
            return f"table:{self.table}"
        return f"file://{self.folder}"


def parse_destination(text: str) -> ArchiveDestination:
    """Parse `file:///var/lib/sereno/archive` or `table:historia."Evento"`. Raises ValueError."""
    if text.startswith("table:"):
        return ArchiveDestination(table=parse_relation(text.removeprefix("table:")))
    folder = PurePosixPath(text.removeprefix("file://"))
    deep = folder.is_absolute() and len(folder.parts) > SHALLOWEST and ".." not in folder.parts
    if not (text.startswith("file://") and deep):
        examples = """like "file:///var/lib/sereno/archive", or 'table:history."Event"'"""
        raise ValueError(f"{quote_value(text)} is not an archive destination ({examples})")
    return ArchiveDestination(str(folder))


def _condition(value: object) -> sql.SQL:
    """Return a condition unchanged: the author of the configuration may run any SQL."""
    if isinstance(value, sql.SQL):
        return value
    if not isinstance(value, str) or not value.strip() or ";" in value or "\x00" in value:
        raise ValueError(
            f"{quote_value(value)} is not one SQL condition (like \"level = 'debug'\")"
        )
    return sql.SQL(value.strip())


def _column(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a column")  # noqa: TRY004 - pydantic gathers ValueErrors
    return parse_name(value)


Epoch = Literal["s", "ms", "us"]
Table = Annotated[Relation, parsed(parse_relation, Relation, "a table"), PlainSerializer(str)]
Tables = Annotated[
    TablePattern, parsed(parse_pattern, TablePattern, "a table pattern"), PlainSerializer(str)
]
Destination = Annotated[
    ArchiveDestination,
    parsed(parse_destination, ArchiveDestination, "an archive destination"),
    PlainSerializer(str),
]
Condition = Annotated[
    sql.SQL,
    BeforeValidator(_condition),
    PlainSerializer(lambda condition: condition.as_string(None)),
]
Column = Annotated[str, BeforeValidator(_column)]
