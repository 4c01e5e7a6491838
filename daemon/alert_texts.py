"""The texts of alerts and findings in Spanish, from the header of their check."""

from collections.abc import Callable, Mapping
from typing import Any

from alerts.alert import Alert
from checks.check import Header, Row
from checks.judge import COLUMN, remedy_of, summary_of

Headers = Mapping[str, Header]


def in_spanish(headers: Callable[[], Headers]) -> Callable[[Alert], tuple[str, str] | None]:
    """Return a function from an alert to its summary and remedy; None if its header has none."""

    def texts(alert: Alert) -> tuple[str, str] | None:
        header = headers().get(alert.kind)
        return spanish_texts(header, alert.object, alert.evidence, (alert.summary, alert.remedy))

    return texts


def spanish_texts(
    header: Header | None, name: str, evidence: Mapping[str, Any], english: tuple[str, str]
) -> tuple[str, str] | None:
    """Return summary and remedy about an object in Spanish; None if the header has none."""
    if header is None or not header.es:
        return None
    summary, remedy = english
    # what the evidence does not give back in English would be wrong in Spanish too
    row: Row = {"value": 1, **evidence, "object": name, "severity": "info"}
    own = header.es.get("summary", "")
    if header.summary and summary_of(header, row) == summary:
        summary = summary_of(header, row, "es")
    elif not header.summary and own and set(COLUMN.findall(own)) <= row.keys():
        summary = summary_of(header, row, "es")  # the English one is made by the check itself
    if remedy and remedy_of(header, row) == remedy:
        remedy = remedy_of(header, row, "es")
    return summary, remedy
