"""Gathers the alerts of the health report, with their texts in every language."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

from alerts import alert_store
from alerts.alert import Alert, State
from alerts.alert_figures import severities_at
from checks.check import Header
from daemon.alert_texts import Headers, spanish_texts
from daemon.alert_views import server_of
from daemon.history import statistics
from daemon.report.report import OpenAlert, ResolvedAlert, Texts
from domain.finding import Severity
from domain.redaction import redact
from store.store import Transaction

MOST_OVER = 1000


def open_alerts(
    transaction: Transaction, headers: Headers, since: datetime, zone: ZoneInfo
) -> Sequence[OpenAlert]:
    """Return the open alerts, the worst first; pending ones are left out."""
    before = severities_at(transaction, since)
    notified = [one for one in alert_store.load_open(transaction) if one.state is not State.PENDING]
    ranked = sorted(notified, key=lambda one: (-one.severity.rank, one.opened_at, one.id or 0))
    clusters = statistics.load_clusters(transaction)
    return [
        replace(
            _open_alert(one, before.get(one.id or 0), headers, (since, zone)),
            server=redact(server_of(one, clusters)),
        )
        for one in ranked
    ]


def resolved_alerts(
    transaction: Transaction, headers: Headers, since: datetime, zone: ZoneInfo
) -> Sequence[ResolvedAlert]:
    """Return the alerts resolved since an instant, latest first."""
    ended = alert_store.load_resolved_since(transaction, since, MOST_OVER)
    clusters = statistics.load_clusters(transaction)
    return [
        ResolvedAlert(
            kind=one.kind,
            database=redact(one.database),
            object=redact(one.object or one.task),
            summary=redact(one.summary),
            ended=(one.resolved_at or one.last_seen_at).astimezone(zone),
            severity=one.peak_severity,
            server=redact(server_of(one, clusters)),
            title=title_of(one.kind, headers),
            es=spanish(one, headers.get(one.kind)),
        )
        for one in ended
    ]


def title_of(kind: str, headers: Headers) -> str:
    """Return the title of a kind of alert, in English."""
    header = headers.get(kind)
    return header.title if header is not None else kind.replace("_", " ").capitalize()


def spanish(alert: Alert, header: Header | None) -> Texts | None:
    """Return the texts of a check's alert in Spanish; None if its header has none."""
    english = (alert.summary, alert.remedy)
    texts = spanish_texts(header, alert.object, alert.evidence, english)
    if header is None or texts is None:
        return None
    return Texts(redact(header.es.get("title", header.title)), *map(redact, texts))


def _open_alert(
    alert: Alert, before: Severity | None, headers: Headers, times: tuple[datetime, ZoneInfo]
) -> OpenAlert:
    since, zone = times
    began = alert.fired_at or alert.opened_at
    is_new = began > since
    return OpenAlert(
        number=alert.id or 0,
        severity=alert.severity,
        kind=alert.kind,
        database=redact(alert.database),
        object=redact(alert.object or alert.task),
        summary=redact(alert.summary),
        remedy=redact(alert.remedy),
        since=began.astimezone(zone),
        new=is_new,
        acknowledged_by=redact(alert.acknowledged_by),
        before=None if is_new else before,
        title=title_of(alert.kind, headers),
        unchecked=alert.kind in headers and not alert.remedy and alert.severity is Severity.INFO,
        es=spanish(alert, headers.get(alert.kind)),
    )
