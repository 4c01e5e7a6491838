"""Limits on the rows and values of a check: they are cut by the server, before they are read."""

import contextlib
import re
from collections.abc import Sequence

from psycopg import sql

from checks.check import Header, OptionValues, Row
from checks.judge import severity_of
from checks.options import is_ignored
from postgres.session import Session

MOST_FINDINGS = 100
"""Rows of a check that become findings of their own; one more says how many are left out."""
MOST_COMPARED = 10_000
"""Rows that are compared with the last look; those that are findings are limited afterwards."""
LONGEST_VALUE, LONGEST_OBJECT = 2000, 500
"""Characters of an evidence value, and of an object name: a longer one ends in its digest."""
REST = "(more)"
"""The object of the finding that counts the rest."""

_TOTAL = "sereno.total"
_SMALL_TYPES = frozenset({16, 20, 21, 23, 26, 700, 701, 1082, 1114, 1184, 1186, 1700})
"""The oids of bool, the number types, date, timestamp, timestamptz and interval."""
_BOUNDED = sql.SQL(
    """
    SELECT *, count(*) OVER () AS {total}
    FROM (SELECT {columns} FROM ({query}
    ) AS q ({names}) OFFSET 0) AS r
    WHERE {told}
    ORDER BY {order} LIMIT {most}
    """
)
_NO_ROWS = sql.SQL("SELECT * FROM ({query}\n) AS q LIMIT 0")
_CUT = sql.SQL("left({0}::text, {1})")
_CUT_OBJECT = sql.SQL(
    "CASE WHEN length({0}::text) > {1} THEN left({0}::text, {1} - 33) || '…' || md5({0}::text)"
    " ELSE {0}::text END"
)
_BY_SEVERITY = sql.SQL(
    "CASE severity WHEN 'critical' THEN 0 WHEN 'high' THEN 1 WHEN 'warning' THEN 2 ELSE 3 END"
)


def bounded_rows(
    session: Session, query: sql.Composed, header: Header, options: OptionValues
) -> Sequence[Row]:
    """Run a query and return its worst rows, at most `most_findings`, and one for the rest."""
    described = session.columns(_NO_ROWS.format(query=query))
    aliases = [sql.Identifier(f"c{number}") for number in range(len(described))]
    most, told = _limits(header, options)
    rows = session.rows(
        _BOUNDED.format(
            total=sql.Identifier(_TOTAL),
            query=query,
            names=sql.SQL(", ").join(aliases),
            columns=sql.SQL(", ").join(
                sql.SQL("{} AS {}").format(_cut(alias, name, kind), sql.Identifier(name))
                for alias, (name, kind) in zip(aliases, described, strict=True)
            ),
            told=_told(told, {name for name, _ in described}),
            order=_order(header, {name for name, _ in described}),
            most=sql.Literal(most),
        )
    )
    total = rows[0][_TOTAL] if rows else 0
    kept = [{name: value for name, value in row.items() if name != _TOTAL} for row in rows]
    with contextlib.suppress(ValueError):  # the caller names a severity that does not exist
        if kept and severity_of(header, kept[-1], options) is None:
            return kept  # sorted by severity: the rest is no finding either
    return [*kept, *_rest(total - len(kept))]


def _limits(header: Header, options: OptionValues) -> tuple[int, OptionValues]:
    """Return the most rows, and the options by which rows are left out.

    Rows that are compared with the last look are limited afterwards.
    """
    return (MOST_COMPARED, {}) if header.compares else (most_findings(options), options)


def most_findings(options: OptionValues) -> int:
    """Return the configured number of rows that become findings."""
    value = options.get("most_findings", MOST_FINDINGS)
    return value if isinstance(value, int) else MOST_FINDINGS


def first_rows(rows: Sequence[Row], options: OptionValues) -> Sequence[Row]:
    """Return the first rows that a module found, with one for the rest."""
    told = [row for row in rows if not is_ignored(str(row["object"]), options)]
    kept = told[: most_findings(options)]
    return [*kept, *_rest(len(told) - len(kept))]


def _rest(count: int) -> Sequence[Row]:
    if count <= 0:
        return ()
    summary = f"{count} more findings of this check are not listed (most_findings)"
    return ({"object": REST, "value": None, "summary": summary},)


def _cut(column: sql.Identifier, name: str, kind: int) -> sql.Composable:
    if name == "object":
        return _CUT_OBJECT.format(column, sql.Literal(LONGEST_OBJECT))
    if kind in _SMALL_TYPES:
        return column
    return _CUT.format(column, sql.Literal(LONGEST_VALUE))


def _told(options: OptionValues, names: set[str]) -> sql.Composable:
    """Return the condition on rows whose object is not ignored."""
    ignored = options.get("ignored", ())
    if "object" not in names or not isinstance(ignored, Sequence) or not ignored:
        return sql.SQL("true")
    patterns = [re.sub(r"([\\%_])", r"\\\1", str(one)).replace("*", "%") for one in ignored]
    return sql.SQL("coalesce(object, '') NOT LIKE ALL ({})").format(sql.Literal(patterns))


def _order(header: Header, names: set[str]) -> sql.Composable:
    parts = [_BY_SEVERITY] if "severity" in names else []
    if "value" in names:
        parts.append(sql.SQL("value" if header.order == "falling" else "value DESC NULLS LAST"))
    return sql.SQL(", ").join([*parts, sql.SQL("object" if "object" in names else "1")])
