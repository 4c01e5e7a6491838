"""The kinds of value in a configuration, each read from text with an error that shows how it is written."""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Annotated, Any
from zoneinfo import ZoneInfo, available_timezones

from psycopg import sql
from pydantic import BeforeValidator, PlainSerializer

from alerts.hours import Hours
from archive.folder import SHALLOWEST
from daemon.calendar import Cron, parse_cron
from postgres.identifiers import Columns, Relation, parse_columns, parse_name, parse_relation
from postgres.selection import Pattern, parse_pattern

LAST_PORT = 65536
_UNITS = {
    "ms": 0.001,
    "s": 1,
    "m": 60,
    "min": 60,
    "h": 3600,
    "d": 86400,
    "day": 86400,
    "week": 604800,
    "year": 366 * 86400,
    "w": 604800,
}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min|m|h|days?|d|weeks?|w|years?)")
_SIZES = {"": 1, "kb": 1024, "mb": 1024**2, "gb": 1024**3, "tb": 1024**4}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(|kb|mb|gb|tb)", re.IGNORECASE)


def duration(text: object) -> timedelta:
    """Read `30 days`, `2h`, `500ms`; more than nothing, less than a thousand years."""
    if isinstance(text, timedelta):
        return text
    match = _DURATION.fullmatch(text.strip()) if isinstance(text, str) else None
    seconds = float(match[1]) * _UNITS[match[2] if match[2] in _UNITS else match[2].rstrip("s")] if match else 0.0
    if not 0 < seconds < 1000 * 365 * 86400:
        raise ValueError(f'{_shown(text)} is not a duration (like "30 days", "2h", "90s")')
    return timedelta(seconds=seconds)


def retention(text: object) -> timedelta:
    """Read how long rows or files are kept: `6m` would be six minutes, and is meant as months. A year has 366 days."""
    if isinstance(text, timedelta):
        return text
    span = duration(text)
    if span < timedelta(days=1) or not re.search(r"d|w|y", str(text)):
        raise ValueError(f'{_shown(text)} is no time to keep something: give days, weeks or years (like "400 days")')
    return span


def size(text: object) -> int:
    """Read `64 MB`; a whole number is bytes."""
    match = _SIZE.fullmatch(str(text).strip()) if isinstance(text, str | int) else None
    if match is None:
        raise ValueError(f'{_shown(text)} is not a size (like "64 MB")')
    return int(float(match[1]) * _SIZES[match[2].lower()])


def in_words(span: timedelta) -> str:
    """Write a duration in its largest whole unit, as `duration` reads it."""
    seconds = span.total_seconds()
    for unit, length in (("days", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length and seconds % length == 0:
            count = int(seconds // length)
            return f"{count} {unit}" if unit == "days" else f"{count}{unit}"
    return f"{int(seconds) if seconds.is_integer() else seconds}s"


@dataclass(frozen=True, slots=True)
class Archives:
    """Where archived rows go: a folder, or a table of the same database."""

    folder: str = ""
    table: Relation | None = None

    def __str__(self) -> str:
        """Write it as it is read."""
        return f"table:{self.table}" if self.table else f"file://{self.folder}"


def destination(text: str) -> Archives:
    """Read `file:///var/lib/sereno/archive`, or `table:historia."Evento"`."""
    if text.startswith("table:"):
        return Archives(table=parse_relation(text.removeprefix("table:")))
    folder = PurePosixPath(text.removeprefix("file://"))
    deep = folder.is_absolute() and len(folder.parts) > SHALLOWEST and ".." not in folder.parts
    if not (text.startswith("file://") and deep):
        examples = """like "file:///var/lib/sereno/archive", or 'table:history."Event"'"""
        raise ValueError(f"{_shown(text)} is no place for an archive ({examples})")
    return Archives(str(folder))


def timezone(text: object) -> str:
    """Read an IANA name."""
    if not isinstance(text, str) or text not in available_timezones():
        raise ValueError(f'{_shown(text)} is not a time zone (like "America/La_Paz")')
    return ZoneInfo(text).key


def listen(text: object) -> str:
    """Read `127.0.0.1:9188`, `[::1]:9188`, or nothing."""
    if text == "":
        return ""
    try:
        host, port = address(str(text))
        ipaddress.ip_address(host)
    except ValueError:
        port = 0
    if not 0 < port < LAST_PORT:
        raise ValueError(f'{_shown(text)} is not an address and port (like "127.0.0.1:9188"; "" listens nowhere)')
    return str(text)


def working_hours(text: object) -> str:
    """Read `mon-fri 08:00-18:00`, or nothing."""
    if text != "":
        Hours.read(str(text), "UTC")
    return str(text)


def address(text: str) -> tuple[str, int]:
    """Cut an address and its port apart."""
    host, _, port = text.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _shown(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _text(read: Callable[[str], Any], kind: type, what: str) -> Callable[[object], Any]:
    def parse(value: object) -> Any:  # noqa: ANN401 - whatever `read` makes
        if isinstance(value, kind):
            return value
        if not isinstance(value, str):
            raise ValueError(f"{value!r} is not {what}")  # noqa: TRY004 - pydantic gathers ValueErrors
        return read(value)

    return parse


def _condition(value: object) -> sql.SQL:
    """Take what the configuration says as it is: who writes it may do anything there."""
    if isinstance(value, sql.SQL):
        return value
    if not isinstance(value, str) or ";" in value or "\x00" in value:
        raise ValueError(f"{_shown(value)} is not one condition in SQL (like \"level = 'debug'\")")
    return sql.SQL(value.strip())


def _name(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a column")  # noqa: TRY004 - pydantic gathers ValueErrors
    return parse_name(value)


Duration = Annotated[timedelta, BeforeValidator(duration), PlainSerializer(in_words)]
Retention = Annotated[timedelta, BeforeValidator(retention), PlainSerializer(in_words)]
Listen = Annotated[str, BeforeValidator(listen)]
WorkingHours = Annotated[str, BeforeValidator(working_hours)]
Size = Annotated[int, BeforeValidator(size)]
TimeZone = Annotated[str, BeforeValidator(timezone)]
CronText = Annotated[Cron, BeforeValidator(_text(parse_cron, Cron, "a cron line")), PlainSerializer(str)]
Table = Annotated[Relation, BeforeValidator(_text(parse_relation, Relation, "a table")), PlainSerializer(str)]
TablePattern = Annotated[
    Pattern, BeforeValidator(_text(parse_pattern, Pattern, "a pattern of tables")), PlainSerializer(str)
]
TableColumns = Annotated[Columns, BeforeValidator(_text(parse_columns, Columns, "columns")), PlainSerializer(str)]
Destination = Annotated[
    Archives, BeforeValidator(_text(destination, Archives, "a place for an archive")), PlainSerializer(str)
]
Condition = Annotated[
    sql.SQL, BeforeValidator(_condition), PlainSerializer(lambda condition: condition.as_string(None))
]
Column = Annotated[str, BeforeValidator(_name)]
