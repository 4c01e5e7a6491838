"""Identifiers as SQL writes them: `public."AuditLog"`, `public."Pago"("factura_id", "tenant")`.

The server's rules (manual, 4.1.1): unquoted names fold to lower case, `""` is one quote, at most 63
bytes. Names enter statements only through `psycopg.sql.Identifier`.
"""

import re
from dataclasses import dataclass

from psycopg import sql

_PART = re.compile(r'"((?:[^"\x00]|"")+)"|([^\W\d][\w$]*)')
_PLAIN = re.compile(r"[a-z_][a-z0-9_$]*")
LONGEST = 63


@dataclass(frozen=True, slots=True, order=True)
class Relation:
    """A table, index or view by schema and name, as the catalog spells them."""

    schema: str
    name: str

    def identifier(self) -> sql.Identifier:
        """Return the name as a composable part of a statement."""
        return sql.Identifier(self.schema, self.name)

    def __str__(self) -> str:
        """Return the name as psql accepts it and `parse_relation` reads it."""
        return f"{quote_identifier(self.schema)}.{quote_identifier(self.name)}"


ColumnTypes = tuple[tuple[str, str], ...]
"""Column names, each with its type as format_type() prints it."""


@dataclass(frozen=True, slots=True)
class Columns:
    """A relation and some of its columns, in order."""

    relation: Relation
    names: tuple[str, ...]

    def __str__(self) -> str:
        """Return `schema.table(a, b)`."""
        return f"{self.relation}({', '.join(quote_identifier(name) for name in self.names)})"


def quote_identifier(name: str) -> str:
    """Return a name for people to read, quoted only where SQL needs it."""
    if _PLAIN.fullmatch(name):
        return name
    return '"' + name.replace('"', '""') + '"'


def parse_name(text: str) -> str:
    """Parse one name, quoted or not. Raises ValueError."""
    name, rest = _take(text.strip())
    if rest:
        raise ValueError(f"{text!r} is not one name: {rest!r} follows it")
    return name


def split_names(text: str) -> tuple[str, ...]:
    """Parse names separated by commas, like a search_path. Raises ValueError."""
    names: list[str] = []
    rest = text.strip()
    while True:
        name, rest = _take(rest)
        names.append(name)
        rest = rest.strip()
        if not rest:
            return tuple(names)
        if not rest.startswith(","):
            raise ValueError(f"{text!r}: a comma is missing before {rest!r}")
        rest = rest[1:].strip()


def parse_relation(text: str) -> Relation:
    """Parse `schema.table`. Raises ValueError with an example."""
    relation, rest = _relation(text.strip())
    if rest:
        raise ValueError(
            f"{text!r} is not a table (like 'public.\"AuditLog\"'): {rest!r} follows it"
        )
    return relation


def parse_columns(text: str) -> Columns:
    """Parse `schema.table(column, ...)`. Raises ValueError with an example."""
    relation, rest = _relation(text.strip())
    example = '(like \'public."Pago"("factura_id")\')'
    if not (rest.startswith("(") and rest.endswith(")")):
        raise ValueError(f"{text!r} names no columns {example}")
    try:
        return Columns(relation, split_names(rest[1:-1]))
    except ValueError as error:
        raise ValueError(f"{error} {example}") from None


def _relation(text: str) -> tuple[Relation, str]:
    schema, rest = _take(text)
    if not rest.startswith("."):
        raise ValueError(f"{text!r} needs its schema (like 'public.\"AuditLog\"')")
    name, rest = _take(rest[1:])
    return Relation(schema, name), rest.strip()


def _take(text: str) -> tuple[str, str]:
    match = _PART.match(text)
    if match is None and text.startswith('"'):
        raise ValueError(f"the quote of {text!r} is not closed")
    if match is None:
        raise ValueError(f'{text!r} does not begin with a name (quote it as in SQL: "we""ird")')
    name = match[1].replace('""', '"') if match[1] is not None else match[2].lower()
    if len(name.encode()) > LONGEST:
        raise ValueError(f"{name!r} is longer than PostgreSQL's {LONGEST} bytes")
    return name, text[match.end() :]
