"""Gathers the alerts of the health report, with their texts in every language."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from zoneinfo import ZoneInfo

from alerts import alert_store
from alerts.alert import Alert, State
from alerts.alert_figures import load_figures, severities_at
from checks.check import Header, Row
from checks.judge import remedy_of, summary_of
from daemon.report.report import AlertFigures, OpenAlert, ResolvedAlert, Texts
from domain.finding import Severity
from domain.redaction import redact
from store.store import Transaction

MOST_OVER = 50

Headers = Mapping[str, Header]


def open_alerts(
    transaction: Transaction, headers: Headers, since: datetime, zone: ZoneInfo
) -> Sequence[OpenAlert]:
    """Return the open alerts, the worst first; pending ones are left out."""
    before = severities_at(transaction, since)
    notified = [one for one in alert_store.load_open(transaction) if one.state is not State.PENDING]
    ranked = sorted(notified, key=lambda one: (-one.severity.rank, one.opened_at, one.id or 0))
    return [_open_alert(one, before.get(one.id or 0), headers, (since, zone)) for one in ranked]


def resolved_alerts(
    transaction: Transaction, headers: Headers, since: datetime, zone: ZoneInfo
) -> Sequence[ResolvedAlert]:
    """Return the alerts resolved since an instant, latest first."""
    ended = alert_store.load_resolved_since(transaction, since, MOST_OVER)
    return [
        ResolvedAlert(
            kind=one.kind,
            database=redact(one.database),
            object=redact(one.object or one.task),
            summary=redact(one.summary),
            ended=(one.resolved_at or one.last_seen_at).astimezone(zone),
            title=title_of(one.kind, headers),
            es=spanish(one, headers.get(one.kind)),
        )
        for one in ended
    ]


def figures(transaction: Transaction, since: datetime) -> AlertFigures:
    """Return the counts of alerts and messages."""
    return AlertFigures(**asdict(load_figures(transaction, since)))


def title_of(kind: str, headers: Headers) -> str:
    """Return the title of a kind of alert, in English."""
    header = headers.get(kind)
    return header.title if header is not None else kind.replace("_", " ").capitalize()


def spanish(alert: Alert, header: Header | None) -> Texts | None:
    """Return the texts of a check's alert in Spanish; None if its header has none."""
    if header is None or not header.es:
        return None
    row: Row = {**alert.evidence, "object": alert.object}
    is_seen = bool(alert.remedy)
    if is_seen:
        row = {**row, "value": alert.evidence.get("value", 1)}
    summary = summary_of(header, row, "es") if is_seen else alert.summary
    remedy = remedy_of(header, row, "es") if is_seen else ""
    title = header.es.get("title", header.title)
    return Texts(redact(title), redact(summary), redact(remedy))


def _open_alert(
    alert: Alert, before: Severity | None, headers: Headers, times: tuple[datetime, ZoneInfo]
) -> OpenAlert:
    since, zone = times
    is_new = alert.opened_at > since
    return OpenAlert(
        number=alert.id or 0,
        severity=alert.severity,
        kind=alert.kind,
        database=redact(alert.database),
        object=redact(alert.object or alert.task),
        summary=redact(alert.summary),
        remedy=redact(alert.remedy),
        since=alert.opened_at.astimezone(zone),
        new=is_new,
        acknowledged_by=redact(alert.acknowledged_by),
        before=None if is_new else before,
        title=title_of(alert.kind, headers),
        es=spanish(alert, headers.get(alert.kind)),
    )
