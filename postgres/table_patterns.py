"""Table patterns on `schema.table`, as in psql.

Outside quotes letters fold to lower case, `*` matches any text and `?` one letter; inside quotes
everything is literal (manual, psql, Patterns): `public.*`, `log_*.*`, `public."Audit"*`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from postgres.identifiers import Relation

_TOKEN = re.compile(r'"((?:[^"\x00]|"")*)"|([*?.])|([\w$]+)')
_WILD = {"*": ".*", "?": "."}


@dataclass(frozen=True, slots=True)
class TablePattern:
    """A pattern; printed as it was written."""

    text: str
    schema: re.Pattern[str]
    name: re.Pattern[str]

    def __str__(self) -> str:
        """Return the text that was parsed."""
        return self.text

    def matches(self, relation: Relation) -> bool:
        """Return whether a table matches."""
        return bool(self.schema.fullmatch(relation.schema) and self.name.fullmatch(relation.name))


@dataclass(frozen=True, slots=True)
class TableSelection:
    """All tables, or the included ones; never an excluded one."""

    include: tuple[TablePattern, ...] = ()
    exclude: tuple[TablePattern, ...] = ()

    def includes_table(self, relation: Relation) -> bool:
        """Return whether a table is selected."""
        if any_matches(self.exclude, relation):
            return False
        return not self.include or any_matches(self.include, relation)


def any_matches(patterns: Iterable[TablePattern], relation: Relation) -> bool:
    """Return whether any of the patterns matches the table."""
    return any(pattern.matches(relation) for pattern in patterns)


def parse_pattern(text: str) -> TablePattern:
    """Parse `schema.table` with wildcards. Raises ValueError with an example."""
    parts, place = [""], 0
    while place < len(text):
        token = _TOKEN.match(text, place)
        if token is None:
            raise ValueError(_bad(text))
        place = token.end()
        quoted, sign, word = token.groups()
        if sign == ".":
            parts.append("")
        elif sign:
            parts[-1] += _WILD[sign]
        else:
            parts[-1] += re.escape(
                quoted.replace('""', '"') if quoted is not None else word.lower()
            )
    if len(parts) != 2 or not all(parts):  # noqa: PLR2004 - a schema and a table
        raise ValueError(_bad(text))
    schema, name = (re.compile(part, re.DOTALL) for part in parts)
    return TablePattern(text, schema, name)


def _bad(text: str) -> str:
    return f"{text!r} is not a table pattern (like 'public.log_*' or 'public.\"AuditLog\"')"
