"""Who hears of what: from findings and what is open to changes. Pure: no clock, no store, no channel."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from alerts.alert import Alert, Change, Reason, State
from checks.finding import Finding, Severity


@dataclass(frozen=True, slots=True)
class Coverage:
    """What a look would have seen: an open alert inside it that was not found again is over. None means any."""

    kind: str
    database: str | None = None
    object: str | None = None
    task: str | None = None
    cluster: str | None = None

    def includes(self, alert: Alert) -> bool:
        """Say whether this look speaks for the alert."""
        return (
            alert.kind == self.kind
            and self.database in {None, alert.database}
            and self.object in {None, alert.object}
            and self.task in {None, alert.task}
            and self.cluster in {None, alert.cluster}
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """The operator's routes and how often an open alert is told again."""

    routes: Mapping[Severity, tuple[str, ...]]
    repeat: Mapping[Severity, timedelta] = field(
        default_factory=lambda: {Severity.HIGH: timedelta(hours=24), Severity.CRITICAL: timedelta(hours=1)}
    )

    def channels(self, severity: Severity) -> tuple[str, ...]:
        """Return who is told of that severity."""
        return self.routes.get(severity, ())

    def next_repeat(self, severity: Severity, now: datetime) -> datetime | None:
        """Return when it would be told again."""
        interval = self.repeat.get(severity)
        return None if interval is None else now + interval


@dataclass(frozen=True, slots=True)
class Known:
    """What is open, and which channels were told of each (by the alert's id)."""

    alerts: Sequence[Alert]
    told: Mapping[int, tuple[str, ...]] = field(default_factory=dict)


def decide(
    findings: Iterable[Finding], coverage: Collection[Coverage], known: Known, policy: Policy, now: datetime
) -> tuple[Change, ...]:
    """Return what changes. The same finding twice in one look counts once, at its worst."""
    opened = {alert.fingerprint: alert for alert in known.alerts}
    found: dict[str, Finding] = {}
    for finding in findings:
        fingerprint = finding.identity.fingerprint()
        if fingerprint not in found or finding.severity > found[fingerprint].severity:
            found[fingerprint] = finding
    changes = [
        _found(fingerprint, finding, opened.get(fingerprint), policy, now) for fingerprint, finding in found.items()
    ]
    gone = [
        alert
        for alert in known.alerts
        if alert.fingerprint not in found and any(area.includes(alert) for area in coverage)
    ]
    return (*changes, *(_resolved(alert, known, now) for alert in gone))


def repeats(known: Known, policy: Policy, now: datetime) -> Iterator[Change]:
    """Yield what is to be told again though nobody looked: open, not acknowledged, its time come."""
    for alert in known.alerts:
        if alert.state is State.FIRING and alert.next_repeat_at is not None and alert.next_repeat_at <= now:
            again = replace(alert, next_repeat_at=policy.next_repeat(alert.severity, now))
            yield Change(again, Reason.REPEATED, policy.channels(alert.severity))


def _found(fingerprint: str, finding: Finding, alert: Alert | None, policy: Policy, now: datetime) -> Change:
    if alert is None:
        new = _opened(fingerprint, finding, policy, now)
        return Change(new, Reason.OPENED, policy.channels(finding.severity))
    again = replace(
        alert,
        severity=finding.severity,
        summary=finding.summary,
        remedy=finding.remedy,
        evidence=finding.evidence,
        last_seen_at=now,
        occurrences=alert.occurrences + 1,
    )
    if finding.severity > alert.severity:
        raised = replace(
            again,
            state=State.FIRING,
            acknowledged_by="",
            next_repeat_at=policy.next_repeat(finding.severity, now),
        )
        return Change(raised, Reason.RAISED, policy.channels(finding.severity))
    due = alert.next_repeat_at is not None and alert.next_repeat_at <= now
    if alert.state is State.FIRING and due:
        again = replace(again, next_repeat_at=policy.next_repeat(again.severity, now))
        return Change(again, Reason.REPEATED, policy.channels(again.severity))
    if finding.severity < alert.severity:
        again = replace(again, next_repeat_at=policy.next_repeat(finding.severity, now))
        return Change(again, Reason.LOWERED)
    return Change(again, Reason.SEEN)


def _opened(fingerprint: str, finding: Finding, policy: Policy, now: datetime) -> Alert:
    identity = finding.identity
    return Alert(
        fingerprint=fingerprint,
        kind=finding.kind,
        cluster=identity.cluster,
        database=identity.database,
        object=identity.object,
        task=identity.task,
        state=State.FIRING,
        severity=finding.severity,
        summary=finding.summary,
        remedy=finding.remedy,
        evidence=finding.evidence,
        opened_at=now,
        last_seen_at=now,
        next_repeat_at=policy.next_repeat(finding.severity, now),
    )


def _resolved(alert: Alert, known: Known, now: datetime) -> Change:
    """A resolve goes to whoever was told, whatever the routes say today."""
    over = replace(alert, state=State.RESOLVED, resolved_at=now, next_repeat_at=None)
    return Change(over, Reason.RESOLVED, known.told.get(alert.id or 0, ()))
