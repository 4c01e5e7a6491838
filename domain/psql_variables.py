"""psql's variables (`:name`, `:'name'`, `:"name"`) in a query, outside strings and comments.

So the same file runs under `psql -v warning=0.5 -f` (psql manual, SQL Interpolation).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Kind = Literal["text", "value", "literal", "identifier"]

_TOKEN = re.compile(
    r"""
      (?P<comment>   --[^\n]* )
    | (?P<block>     /\* )
    | (?P<escape>    \b[eE]'(?:[^'\\]|\\.|'')*' )
    | (?P<string>    '(?:[^']|'')*' )
    | (?P<quoted>    "(?:[^"]|"")*" )
    | (?P<dollar>    (?<![\w$]) \$(?:[^\W\d]\w*)?\$ )
    | (?P<cast>      :: | := )
    | (?P<literal>   :'(?P<literal_name>\w+)' )
    | (?P<identifier>:"(?P<identifier_name>\w+)" )
    | (?P<value>     (?<![\w:]) :(?P<value_name>[^\W\d]\w*) )
    """,
    re.VERBOSE | re.DOTALL,
)
_BLOCK = re.compile(r"/\*|\*/")


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the query, or the name of a variable."""

    kind: Kind
    text: str


@lru_cache(maxsize=1024)
def tokens(query: str) -> tuple[Token, ...]:
    """Split a query into text and variables; joined again they are the same query."""
    return tuple(_split(query))


def _split(query: str) -> Iterator[Token]:
    begin = position = 0
    while position < len(query):
        match = _TOKEN.match(query, position)
        if match is None:
            position += 1
            continue
        variable = _variable(match)
        if variable is None:
            position = _end(query, match)
            continue
        if begin < position:
            yield Token("text", query[begin:position])
        yield variable
        begin = position = match.end()
    if begin < len(query):
        yield Token("text", query[begin:])


def _variable(match: re.Match[str]) -> Token | None:
    kinds: tuple[Kind, ...] = ("value", "literal", "identifier")
    for kind in kinds:
        name = match[f"{kind}_name"]
        if name is not None:
            return Token(kind, name)
    return None


def _end(query: str, match: re.Match[str]) -> int:
    """Return the end of a token: comments nest, a dollar quote ends at its own tag."""
    if match["block"]:
        depth = 0
        for mark in _BLOCK.finditer(query, match.start()):
            depth += 1 if mark[0] == "/*" else -1
            if depth == 0:
                return mark.end()
        return len(query)
    if match["dollar"]:
        closing = query.find(match["dollar"], match.end())
        if closing < 0:
            return len(query)
        return closing + len(match["dollar"])
    return match.end()
