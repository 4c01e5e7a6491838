"""The judge that serves every check: from rows and thresholds to findings. Pure."""

import re
from collections.abc import Sequence
from decimal import Decimal

from checks.check import Header, OptionValues, Row
from domain.finding import Finding, Identity, Severity
from domain.place import Place

_LADDER = (Severity.CRITICAL, Severity.HIGH, Severity.WARNING)
_OWN = frozenset({"object", "value", "summary", "severity"})


def judge(header: Header, rows: Sequence[Row], options: OptionValues, place: Place) -> tuple[Finding, ...]:
    """Make a finding of each row: its own `severity`, else by `value` and the options critical, high, warning.

    A row without a value is `info`: unknown is no alarm. A row under every threshold, or whose own severity
    is `none`, is nothing: it was worth looking at, not worth telling.
    """
    found = []
    for row in rows:
        severity = _severity(header, row, options)
        if severity is None:
            continue
        identity = Identity(
            header.name,
            place.instance,
            place.cluster,
            "" if header.scope == "cluster" else place.database,
            str(row["object"]),
        )
        evidence = {name: value for name, value in row.items() if name not in _OWN}
        found.append(
            Finding(
                identity,
                severity,
                str(row["summary"]),
                _number(row.get("value")),
                _remedy(header, row),
                evidence,
            )
        )
    return tuple(found)


def blind(rows: Sequence[Row]) -> bool:
    """Say whether a look left something unseen: a row that knows no value. What it did not find may still be there."""
    return any(row.get("value") is None and row.get("severity") in {None, Severity.INFO.value} for row in rows)


def _severity(header: Header, row: Row, options: OptionValues) -> Severity | None:
    own = row.get("severity")
    if own == "none":
        return None
    if own is not None:
        return Severity(str(own))
    value = _number(row.get("value"))
    if value is None:
        return Severity.INFO
    for severity in _LADDER:
        limit = _number(options.get(severity.value))
        if limit is not None and (value >= limit if header.order == "rising" else value <= limit):
            return severity
    return None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float | Decimal) else None


def _remedy(header: Header, row: Row) -> str:
    """Fill the row's columns into the cure, once: a name with braces in it stays a name."""
    return re.sub(r"\{(\w+)\}", lambda match: str(row.get(match[1], match[0])), header.remedy)
