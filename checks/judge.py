"""The judge of all checks: rows and thresholds become findings. Pure."""

import re
from collections.abc import Sequence
from decimal import Decimal

from checks.check import Header, OptionValues, Row
from checks.options import is_ignored
from domain.finding import Finding, Identity, Severity
from domain.place import Place

_SEVERITIES = (Severity.CRITICAL, Severity.HIGH, Severity.WARNING)
COLUMN = re.compile(r"\{(\w+)\}")
"""A column in the templates of a header."""
_OWN = frozenset({"object", "value", "summary", "severity", "remedy"})


def judge(
    header: Header, rows: Sequence[Row], options: OptionValues, place: Place
) -> tuple[Finding, ...]:
    """Return a finding per row, by its own `severity` or by `value` and the thresholds.

    A row without a value is `info`: unknown is not an alarm. A row below every threshold, or of
    severity `none`, is no finding; nor is one about an ignored object.
    """
    found = []
    for row in rows:
        severity = severity_of(header, row, options)
        if severity is None or is_ignored(str(row["object"]), options):
            continue
        identity = Identity(
            header.name,
            place.instance,
            place.cluster,
            "" if header.scope == "cluster" else place.database,
            str(row["object"]),
        )
        evidence = {name: value for name, value in row.items() if name not in _OWN}
        if _shows_value(header):
            evidence["value"] = row.get("value")
        found.append(
            Finding(
                identity,
                severity,
                summary_of(header, row),
                _number(row.get("value")),
                str(row.get("remedy") or remedy_of(header, row)),
                evidence,
            )
        )
    return tuple(found)


def _shows_value(header: Header) -> bool:
    """Return whether a text of a header shows the value, which other languages need then."""
    texts = (header.summary, header.remedy, *header.es.values())
    return any("{value}" in text for text in texts)


def is_incomplete(rows: Sequence[Row]) -> bool:
    """Return whether a row has no value: the look was incomplete and resolves nothing."""
    return any(_is_unknown(row) for row in rows)


def _is_unknown(row: Row) -> bool:
    return row.get("value") is None and row.get("severity") in {None, Severity.INFO.value}


def _is_unchecked(row: Row) -> bool:
    """Return whether a row says that its object was not checked: it needs no remedy."""
    return row.get("value") is None and row.get("severity") is None


def severity_of(header: Header, row: Row, options: OptionValues) -> Severity | None:
    """Return the severity of a row; None if it is no finding."""
    own = row.get("severity")
    if own == "none":
        return None
    if own is not None:
        return Severity(str(own))
    value = _number(row.get("value"))
    if value is None:
        return Severity.INFO
    for severity in _SEVERITIES:
        limit = _number(options.get(severity.value))
        if limit is not None and (value >= limit if header.order == "rising" else value <= limit):
            return severity
    return None


def _number(value: object) -> float | None:
    if isinstance(value, int | float | Decimal):
        return float(value)
    return None


def summary_of(header: Header, row: Row, language: str = "en") -> str:
    """Return the summary of a row; a row that was not checked brings its own."""
    template = header.es.get("summary", header.summary) if language == "es" else header.summary
    if not template or (_is_unchecked(row) and row.get("summary")):
        return str(row["summary"])
    return _filled(template, row)


def remedy_of(header: Header, row: Row, language: str = "en") -> str:
    """Return the remedy of a row; empty for one that was not checked."""
    if _is_unchecked(row):
        return ""
    template = header.es.get("remedy", header.remedy) if language == "es" else header.remedy
    return _filled(template, row)


def _filled(template: str, row: Row) -> str:
    """Fill the columns of a row into a template once; braces in names stay as they are."""
    return COLUMN.sub(lambda match: _shown(row.get(match[1], match[0])), template)


def _shown(value: object) -> str:
    return "" if value is None else str(value)
