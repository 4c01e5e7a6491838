"""Which tables are meant: patterns on `schema.table` as psql has them, and what was said of a table by name.

Outside quotes letters fold to lower case, `*` is any text and `?` any one letter; inside quotes everything stands for
itself (manual, psql, Patterns): `public.*`, `log_*.*`, `public."Audit"*`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from postgres.identifiers import Relation

_TOKEN = re.compile(r'"((?:[^"\x00]|"")*)"|([*?.])|([\w$]+)')
_WILD = {"*": ".*", "?": "."}


@dataclass(frozen=True, slots=True)
class Pattern:
    """Tables by a pattern; written as it was read."""

    text: str
    schema: re.Pattern[str]
    name: re.Pattern[str]

    def __str__(self) -> str:
        """Return what was read."""
        return self.text

    def matches(self, relation: Relation) -> bool:
        """Say whether a table is meant."""
        return bool(self.schema.fullmatch(relation.schema) and self.name.fullmatch(relation.name))


@dataclass(frozen=True, slots=True)
class Selection:
    """All tables, or those included; but none that is excluded."""

    include: tuple[Pattern, ...] = ()
    exclude: tuple[Pattern, ...] = ()

    def chooses(self, relation: Relation) -> bool:
        """Say whether a table is chosen."""
        if any_matches(self.exclude, relation):
            return False
        return not self.include or any_matches(self.include, relation)


def any_matches(patterns: Iterable[Pattern], relation: Relation) -> bool:
    """Say whether one of them means the table."""
    return any(pattern.matches(relation) for pattern in patterns)


def parse_pattern(text: str) -> Pattern:
    """Read `schema.table` with wildcards; ValueError says how it is written."""
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
            parts[-1] += re.escape(quoted.replace('""', '"') if quoted is not None else word.lower())
    if len(parts) != 2 or not all(parts):  # noqa: PLR2004 - a schema and a table
        raise ValueError(_bad(text))
    schema, name = (re.compile(part, re.DOTALL) for part in parts)
    return Pattern(text, schema, name)


def _bad(text: str) -> str:
    return f"{text!r} is not a pattern of tables (like 'public.log_*' or 'public.\"AuditLog\"')"
