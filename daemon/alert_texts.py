"""The texts of a check's alert in Spanish, from the header of the check."""

from collections.abc import Callable, Mapping

from alerts.alert import Alert
from checks.check import Header, Row
from checks.judge import remedy_of, summary_of

Headers = Mapping[str, Header]


def in_spanish(headers: Callable[[], Headers]) -> Callable[[Alert], tuple[str, str] | None]:
    """Return a function from an alert to its summary and remedy; None if its header has none."""

    def texts(alert: Alert) -> tuple[str, str] | None:
        return spanish_texts(alert, headers().get(alert.kind))

    return texts


def spanish_texts(alert: Alert, header: Header | None) -> tuple[str, str] | None:
    """Return summary and remedy of an alert in Spanish; None if its header has none."""
    if header is None or not header.es:
        return None
    summary, remedy = alert.summary, alert.remedy
    # what the evidence does not give back in English would be wrong in Spanish too
    row: Row = {"value": 1, **alert.evidence, "object": alert.object, "severity": "info"}
    if header.summary and summary_of(header, row) == summary:
        summary = summary_of(header, row, "es")
    if remedy and remedy_of(header, row) == remedy:
        remedy = remedy_of(header, row, "es")
    return summary, remedy
