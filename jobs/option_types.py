"""The base of all option models, and the types of their fields, each parsed from text."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from psycopg import sql
from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer

from domain.units import format_duration, parse_duration, parse_retention, parse_size, quote_value
from postgres.identifiers import Relation, parse_name, parse_relation
from postgres.table_patterns import TablePattern, parse_pattern
from retention.files.delete_files import SHALLOWEST


class Model(BaseModel):
    """Base of the option models: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


@dataclass(frozen=True, slots=True)
class ArchiveDestination:
    """The destination of archived rows: a folder, or a table of the same database."""

    folder: str = ""
    table: Relation | None = None

    def __str__(self) -> str:
        """Return the text that `parse_destination` reads."""
        return f"table:{self.table}" if self.table else f"file://{self.folder}"


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


def parsed(parse: Callable[[str], Any], kind: type, noun: str) -> BeforeValidator:
    """Return a validator that accepts a `kind` as it is and parses text; `noun` names it in errors."""

    def validate(value: object) -> Any:  # noqa: ANN401 - the type that `parse` returns
        if isinstance(value, kind):
            return value
        if not isinstance(value, str):
            raise ValueError(f"{value!r} is not {noun}")  # noqa: TRY004 - pydantic gathers ValueErrors
        return parse(value)

    return BeforeValidator(validate)


def _condition(value: object) -> sql.SQL:
    """Return a condition unchanged: the author of the configuration may run any SQL."""
    if isinstance(value, sql.SQL):
        return value
    if not isinstance(value, str) or ";" in value or "\x00" in value:
        raise ValueError(
            f"{quote_value(value)} is not one SQL condition (like \"level = 'debug'\")"
        )
    return sql.SQL(value.strip())


def _column(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a column")  # noqa: TRY004 - pydantic gathers ValueErrors
    return parse_name(value)


Epoch = Literal["s", "ms", "us"]
Duration = Annotated[timedelta, BeforeValidator(parse_duration), PlainSerializer(format_duration)]
Retention = Annotated[timedelta, BeforeValidator(parse_retention), PlainSerializer(format_duration)]
Size = Annotated[int, BeforeValidator(parse_size)]
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
