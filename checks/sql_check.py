"""A check as one SQL file: a TOML header in comments, and a query.

`<name>.pg17.sql` replaces the query on servers from 17 on.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from psycopg import errors, sql

from checks.bounds import REST, bounded_rows
from checks.check import Header, NotSeen, Option, OptionValues, Row
from checks.constraints import readable_domain
from checks.history import added_columns
from checks.judge import COLUMN
from domain.finding import Severity
from domain.psql_variables import tokens
from postgres.fencing.trust_domain import statement_reason
from postgres.session import Session

_FILE = re.compile(r"(?P<name>[a-z][a-z0-9_]*)(\.pg(?P<version>\d+))?\.sql")
_SEVERITIES = frozenset({None, "none", *(severity.value for severity in Severity)})
_SHAPES: dict[str, tuple[type, str]] = {
    "title": (str, "text"),
    "scope": (str, "text"),
    "needs": (list, "a list"),
    "summary": (str, "text"),
    "remedy": (str, "text"),
    "es": (dict, "a table"),
    "source": (str, "text"),
    "order": (str, "text"),
    "reads": (str, "text"),
    "cost": (str, "text"),
    "domain": (str, "text"),
    "lasting": (str, "text"),
    "per": (str, "text"),
    "changes": (list, "a list"),
    "forecast": (bool, "true or false"),
    "option": (dict, "a table"),
}

_TEXTS = frozenset({"title", "summary", "remedy"})
_CHOICES = {
    "scope": ("database", "cluster"),
    "order": ("rising", "falling"),
    "reads": ("catalog", "rows"),
    "cost": ("cheap", "scan"),
    "per": ("", "day", "call"),
}

_HAS = sql.SQL(
    "SELECT pg_has_role(current_user, %s, 'USAGE') OR (SELECT rolsuper FROM pg_catalog.pg_roles "
    "WHERE rolname = current_user) AS has"
)


Defaults = Mapping[str, str | bool]
"""The values of header keys that a file leaves out."""


class BadCheckError(ValueError):
    """A check's file cannot be used; the message names the file and the cure."""


@dataclass(frozen=True, slots=True)
class SqlCheck:
    """A header and its queries by lowest server version (18 for 18, 0 for any)."""

    header: Header
    queries: Mapping[int, str]

    def question(self, session: Session | None, options: OptionValues) -> str:
        """Return the query with the options filled in."""
        assert session is not None  # noqa: S101 - a query has a server
        return self._composed(session, options).as_string(None)

    def look(self, session: Session | None, options: OptionValues) -> Sequence[Row]:
        """Run the query. Raises NotSeen if a role of `needs` or another right is missing."""
        assert session is not None  # noqa: S101 - a query has a server
        for role in self.header.needs:
            if not session.rows(_HAS, (role,))[0]["has"]:
                raise NotSeen(f"no privilege: {session.facts.user} is not a member of {role}")
        query = self._composed(session, options)
        try:
            if self.header.reads == "rows":
                domain = readable_domain(session)
                if wrong := statement_reason(session, domain, query):
                    raise NotSeen(wrong)
            rows = bounded_rows(session, query, self.header, options)
        except errors.InsufficientPrivilege as error:
            raise NotSeen(f"no privilege: {error.diag.message_primary}") from None
        for row in rows:
            # the row that counts the rest has none of the query's columns
            if row.get("object") != REST and (wrong := _wrong_row(self.header, row)):
                raise BadCheckError(f"check {self.header.name}: {wrong}")
        return rows

    def _composed(self, session: Session, options: OptionValues) -> sql.Composed:
        major = session.facts.version // 10000
        query = self.queries[max(version for version in self.queries if version <= major)]
        parts: list[sql.Composable] = []
        for token in tokens(query):
            if token.kind == "text":
                parts.append(sql.SQL(token.text))
            elif token.kind == "identifier":
                parts.append(sql.Identifier(str(options[token.text])))
            else:
                parts.append(sql.Literal(options[token.text]))
        return sql.Composed(parts)


def _wrong_row(header: Header, row: Row) -> str:
    """Return what makes a row unusable; empty if nothing does."""
    required = {"object"} if header.summary else {"object", "summary"}
    required |= {"level", "limit"} if header.forecast else set()
    required |= {"calls", "value"} if header.per == "call" else set()
    required |= {"state", "value"} if header.changes else set()
    if missing := sorted(required - row.keys()):
        return f"its query returns no column {', '.join(missing)}"
    if row["object"] is None:
        return "its query returns a row whose object is NULL"
    if row.get("severity") not in _SEVERITIES:
        return f"{row['severity']!r} is not a severity ({', '.join(Severity)})"
    named = {*COLUMN.findall(header.summary), *COLUMN.findall(header.remedy)}
    named -= added_columns(header)
    if unknown := sorted(named - row.keys()):
        return f"its summary or remedy names {{{unknown[0]}}}, which its query does not return"
    return ""


def read(texts: Mapping[str, str], **defaults: str | bool) -> list[SqlCheck]:
    """Parse files (name to text). Raises BadCheckError with a line per unusable file.

    `defaults` are the values of header keys that a file leaves out.
    """
    queries: dict[str, dict[int, str]] = {}
    headers: dict[str, Header] = {}
    problems: list[str] = []
    for file, text in sorted(texts.items()):
        try:
            name, version, header, query = _file(file, text, defaults)
        except BadCheckError as error:
            problems.append(str(error))
            continue
        queries.setdefault(name, {})[version] = query
        if version == 0 or name not in headers:
            headers[name] = header
    problems += [
        f"{name}: {name}.sql is missing beside its version for newer servers"
        for name, versions in queries.items()
        if 0 not in versions and not problems
    ]
    if problems:
        raise BadCheckError("\n".join(problems))
    return [SqlCheck(headers[name], versions) for name, versions in queries.items()]


def _file(file: str, text: str, defaults: Defaults) -> tuple[str, int, Header, str]:
    match = _FILE.fullmatch(PurePath(file).name)
    if match is None:
        raise BadCheckError(
            f"{file}: the file name must be like invalid_index.sql or invalid_index.pg17.sql"
        )
    return match["name"], int(match["version"] or 0), *_parse(file, match["name"], text, defaults)


def _parse(file: str, name: str, text: str, defaults: Defaults) -> tuple[Header, str]:
    lines = text.splitlines(keepends=True)
    length = next(
        (number for number, line in enumerate(lines) if not line.startswith("--")), len(lines)
    )
    try:
        values = tomllib.loads("".join(line[2:].lstrip(" ") for line in lines[:length]))
    except tomllib.TOMLDecodeError as error:
        raise BadCheckError(f"{file}: its header is not TOML: {error}") from None
    query = "".join(lines[length:]).strip().rstrip(";")
    _shaped(file, values)
    header = _header(file, name, {**defaults, **values})
    used = {token.text for token in tokens(query) if token.kind != "text"}
    unknown = used - header.options.keys()
    if unknown:
        raise BadCheckError(
            f"{file}: :{min(unknown)} is used but the header has no option.{min(unknown)}"
        )
    if not query:
        raise BadCheckError(f"{file}: no query below the header")
    return header, query


def _header(file: str, name: str, values: dict[str, Any]) -> Header:
    options = {}
    for option, value in values.pop("option", {}).items():
        if not isinstance(value, dict) or "default" not in value:
            raise BadCheckError(
                f'{file}: option.{option} needs a default, like {{ default = 0.5, help = "…" }}'
            )
        options[option] = Option(value["default"], value.get("help", ""))
    values["needs"] = tuple(values.get("needs", ()))
    values["changes"] = tuple(values.get("changes", ()))
    header = Header(name=name, options=options, **values)
    if wrong := _wrong_comparison(header):
        raise BadCheckError(f"{file}: {wrong}")
    return header


def _wrong_comparison(header: Header) -> str:
    """Return the first mistake in the comparison of two looks; empty if there is none."""
    unknown = sorted(set(map(str, header.changes)) - {"new", "changed", "gone"})
    kinds = (header.lasting, header.per, header.changes, header.forecast)
    means = {"warning", "least_ms"} <= header.options.keys()
    lasting = f"lasting names an option with a number of days; option.{header.lasting} is missing"
    problems = (
        (unknown, f"changes: {', '.join(unknown)} is not one of new, changed, gone"),
        (
            header.changes and "days" not in header.options,
            "changes are told for option.days, which is missing",
        ),
        (header.lasting and header.lasting not in header.options, lasting),
        (sum(map(bool, kinds)) > 1, "use only one of lasting, per, changes and forecast"),
        (
            header.per == "call" and not means,
            'per = "call" needs option.warning (times the mean) and option.least_ms',
        ),
        (
            header.reads == "rows" and any(kinds[:3]),
            "lasting, per and changes compare rows of the catalog only",
        ),
    )
    return next((text for is_wrong, text in problems if is_wrong), "")


def _shaped(file: str, values: dict[str, Any]) -> None:
    """Raise BadCheckError unless the header has the required keys and no others."""
    for key, value in values.items():
        if key not in _SHAPES:
            raise BadCheckError(
                f"{file}: unknown header key {key!r} (known: {', '.join(sorted(_SHAPES))})"
            )
        kind, words = _SHAPES[key]
        if not isinstance(value, kind):
            raise BadCheckError(f"{file}: {key} must be {words}")
    unknown = values.get("es", {}).keys() - _TEXTS
    if unknown:
        raise BadCheckError(f"{file}: es.{min(unknown)} is not one of {', '.join(sorted(_TEXTS))}")
    if "title" not in values:
        raise BadCheckError(f"{file}: the header has no title")
    for key, allowed in _CHOICES.items():
        if values.get(key, allowed[0]) not in allowed:
            raise BadCheckError(
                f"{file}: {key} must be {' or '.join(filter(None, allowed))}, not {values[key]!r}"
            )
