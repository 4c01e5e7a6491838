"""The alert lifecycle: findings, open alerts and time become changes. Pure."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from alerts.alert import Alert, Change, Reason, State
from alerts.alert_state import AlertState
from alerts.policy import DAY, Policy
from domain.coverage import Coverage
from domain.finding import Finding, Severity
from domain.kinds import DATABASE_UNREACHABLE, SERVER_UNREACHABLE

FLAPS = 3
"""An alert with this many transitions within a day is flapping."""
FLAP_LOOKS = 5
"""An alert that changes at this many consecutive looks is flapping, whatever their interval."""
CALM_LOOKS = 3
CALM = timedelta(hours=1)
"""A flapping alert is resolved after this time and number of looks without it."""


@dataclass(frozen=True, slots=True)
class _Evaluation:
    """One look, with everything needed to judge it."""

    known: AlertState
    policy: Policy
    now: datetime

    def notified(self, alert: Alert) -> tuple[str, ...]:
        return self.known.notified.get(alert.id or 0, ())

    def quiet(self, alert: Alert) -> str:
        """Return the suppression of an alert."""
        server = self.policy.servers.get(alert.database)
        if server in self.known.down:
            return f"inhibited: the server {server} is unreachable"
        if alert.kind != DATABASE_UNREACHABLE.name and alert.database in self.known.unreachable:
            return f"inhibited: the database {alert.database} is unreachable"
        return self.policy.silenced(alert, self.known.silences, self.now)

    def notify(self, alert: Alert, reason: Reason) -> Change:
        """Return the change with the channels to notify, or suppressed."""
        quiet = self.quiet(alert)
        if quiet:
            return Change(replace(alert, suppressed_by=quiet), reason)
        again = replace(
            alert,
            suppressed_by="",
            peak_severity=max(alert.peak_severity, alert.severity),
            next_repeat_at=self.policy.next_repeat(alert, self.now),
        )
        return Change(again, reason, self.policy.channels(alert))


def decide(
    findings: Iterable[Finding],
    coverage: Collection[Coverage],
    known: AlertState,
    policy: Policy,
    now: datetime,
) -> tuple[Change, ...]:
    """Return the changes of a look; the same finding twice counts once, at its highest severity."""
    opened = {alert.fingerprint: alert for alert in known.alerts}
    found: dict[str, Finding] = {}
    for finding in findings:
        fingerprint = finding.identity.fingerprint()
        if fingerprint not in found or finding.severity > found[fingerprint].severity:
            found[fingerprint] = finding
    gone = [
        (alert, area.final)
        for alert in known.alerts
        if alert.fingerprint not in found
        for area in coverage
        if area.includes(alert)
    ]
    over = [alert for alert, _ in gone]
    evaluation = _Evaluation(_with_lost(known, found.values(), over), policy, now)
    missed = {alert.fingerprint: _missed(alert, evaluation, final=final) for alert, final in gone}
    return (
        *(_found(one, opened.get(key), evaluation) for key, one in found.items()),
        *missed.values(),
    )


def _with_lost(known: AlertState, found: Collection[Finding], gone: Sequence[Alert]) -> AlertState:
    """Return the state with the databases and servers that are unreachable after this look."""
    databases, servers = DATABASE_UNREACHABLE.name, SERVER_UNREACHABLE.name
    lost = {one.identity.database for one in found if one.kind == databases}
    back = {alert.database for alert in gone if alert.kind == databases}
    down = {one.identity.object for one in found if one.kind == servers}
    up = {alert.object for alert in gone if alert.kind == servers}
    return replace(
        known,
        unreachable=(known.unreachable - back) | lost,
        down=(known.down - up) | down,
    )


def review(known: AlertState, policy: Policy, now: datetime) -> Iterator[Change]:
    """Yield the changes due by time: repeats, escalation, ended suppressions."""
    evaluation = _Evaluation(known, policy, now)
    for alert in known.alerts:
        expired = alert.acknowledged_until is not None and alert.acknowledged_until <= now
        if alert.state is State.ACKNOWLEDGED and expired:
            yield evaluation.notify(_unacknowledged(alert, now), Reason.UNMUTED)
        elif alert.state is State.FIRING and not evaluation.quiet(alert):
            yield from _due_changes(alert, evaluation)


def _due_changes(alert: Alert, evaluation: _Evaluation) -> Iterator[Change]:
    steps = (
        evaluation.policy.escalation_steps[alert.escalation :]
        if alert.severity is Severity.CRITICAL
        else ()
    )
    since = alert.fired_at or alert.opened_at
    if alert.suppressed_by:
        yield evaluation.notify(
            replace(alert, fired_at=evaluation.now, escalation=0), Reason.UNMUTED
        )
    elif steps and evaluation.now - since >= steps[0].after:
        yield Change(
            replace(alert, escalation=alert.escalation + 1), Reason.ESCALATED, steps[0].channels
        )
    elif alert.next_repeat_at is not None and alert.next_repeat_at <= evaluation.now:
        yield evaluation.notify(alert, Reason.REPEATED)


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """The person, and the time limit of the acknowledgement."""

    by: str
    until: datetime | None = None
    takes_over: bool = True
    """Whether it replaces the acknowledgement of somebody else, and its limit."""


def acknowledge(alert: Alert, taken: Acknowledgement, known: AlertState, policy: Policy) -> Change:
    """Return the change: repeats and escalation stop until it worsens, recurs, or time is up."""
    alert = replace(
        alert, state=State.ACKNOWLEDGED, acknowledged_by=taken.by, acknowledged_until=taken.until
    )
    notified = known.notified.get(alert.id or 0, ())
    return Change(
        alert,
        Reason.ACKNOWLEDGED,
        tuple(name for name in notified if name in policy.acknowledging_channels),
    )


def _unacknowledged(alert: Alert, now: datetime) -> Alert:
    return replace(
        alert,
        state=State.FIRING,
        acknowledged_by="",
        acknowledged_until=None,
        fired_at=now,
        escalation=0,
    )


def _found(finding: Finding, alert: Alert | None, evaluation: _Evaluation) -> Change:
    if alert is None:
        return _fire(_new_alert(finding, evaluation), evaluation)
    again = replace(
        alert,
        severity=finding.severity,
        summary=finding.summary,
        remedy=finding.remedy,
        evidence=finding.evidence,
        last_seen_at=evaluation.now,
        occurrences=alert.occurrences + 1,
        failures=alert.failures + 1,
        passes=0,
    )
    if alert.state is State.PENDING:
        return _fire(again, evaluation)
    if finding.severity > alert.peak_severity:
        return evaluation.notify(_unacknowledged(again, evaluation.now), Reason.RAISED)
    if _repeat_due(alert, evaluation) and not evaluation.quiet(again):
        return evaluation.notify(again, Reason.REPEATED)
    if finding.severity is alert.severity:
        return Change(again, Reason.SEEN)
    # not above the peak severity: notified at the next repeat
    at = evaluation.policy.next_repeat(again, evaluation.now)
    if finding.severity > alert.severity:
        at = min((one for one in (at, alert.next_repeat_at) if one is not None), default=None)
    corrected = tuple(
        name for name in evaluation.notified(alert) if name in evaluation.policy.editing_channels
    )
    return Change(replace(again, next_repeat_at=at), Reason.CHANGED, corrected)


def _repeat_due(alert: Alert, evaluation: _Evaluation) -> bool:
    at = alert.next_repeat_at
    if alert.state is not State.FIRING or alert.suppressed_by or at is None:
        return False
    return at <= evaluation.now


def _new_alert(finding: Finding, evaluation: _Evaluation) -> Alert:
    """Return a new alert, or the former one if it ended recently."""
    identity = finding.identity
    alert = Alert(
        fingerprint=identity.fingerprint(),
        kind=finding.kind,
        cluster=identity.cluster,
        database=identity.database,
        object=identity.object,
        task=identity.task,
        state=State.PENDING,
        severity=finding.severity,
        summary=finding.summary,
        remedy=finding.remedy,
        evidence=finding.evidence,
        opened_at=evaluation.now,
        last_seen_at=evaluation.now,
    )
    old = evaluation.known.ended.get(alert.fingerprint)
    if (
        old is None
        or not old.generation
        or evaluation.now - (old.resolved_at or evaluation.now) > evaluation.policy.reopening(old)
    ):
        return alert
    return replace(
        alert,
        id=old.id,
        opened_at=evaluation.now,
        generation=old.generation,
        transitions=old.transitions,
        occurrences=old.occurrences + 1,
    )


def _fire(alert: Alert, evaluation: _Evaluation) -> Change:
    """Return the change: the alert fires once its threshold is reached."""
    rule = evaluation.policy.threshold(alert)
    if alert.failures < rule.failures or evaluation.now - alert.opened_at < rule.duration:
        return Change(alert, Reason.PENDING if alert.failures == 1 else Reason.SEEN)
    recent = _recent((*alert.transitions, evaluation.now), alert, evaluation)
    flapping = (
        sum(evaluation.now - transition < DAY for transition in recent) >= FLAPS
        or len(recent) >= FLAP_LOOKS
    )
    fires = replace(
        alert,
        state=State.FIRING,
        generation=alert.generation + 1,
        fired_at=evaluation.now,
        escalation=0,
        peak_severity=Severity.INFO,
        transitions=recent,
        flapping=flapping,
    )
    reason = Reason.OPENED
    if flapping:
        reason = Reason.FLAPPING
    elif alert.generation:
        reason = Reason.REOPENED
    return evaluation.notify(fires, reason)


def _recent(
    recent: tuple[datetime, ...], alert: Alert, evaluation: _Evaluation
) -> tuple[datetime, ...]:
    """Return the transitions of the last day, or of the last looks if those are further apart."""
    span = max(DAY, FLAP_LOOKS * evaluation.policy.period(alert))
    return tuple(transition for transition in recent if evaluation.now - transition < span)[
        -FLAP_LOOKS:
    ]


def _missed(alert: Alert, evaluation: _Evaluation, *, final: bool) -> Change:
    """Return the change of an alert that a look did not find: resolved unless its rule waits."""
    missed = replace(alert, passes=alert.passes + 1, failures=0)
    wanted = max(evaluation.policy.threshold(alert).passes, CALM_LOOKS if alert.flapping else 1)
    unstable = alert.flapping and evaluation.now - alert.last_seen_at < CALM
    pending = alert.state is State.PENDING
    if not final and not pending and (missed.passes < wanted or unstable):
        return Change(missed, Reason.SEEN)
    over = replace(
        missed,
        state=State.RESOLVED,
        resolved_at=evaluation.now,
        next_repeat_at=None,
        suppressed_by="",
        flapping=False,
        transitions=alert.transitions
        if pending
        else _recent((*alert.transitions, evaluation.now), alert, evaluation),
    )
    # a resolve goes to every notified channel, regardless of present routes and silences
    return Change(
        over,
        Reason.WITHDRAWN if pending else Reason.RESOLVED,
        () if pending else evaluation.notified(alert),
    )
