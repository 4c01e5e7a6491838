"""The alert policy: routes, thresholds, repeats, escalation, silences. Pure."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from alerts.alert import Alert
from alerts.catalogue import Tongue
from alerts.hours import Hours
from alerts.rules import EscalationStep, Matcher, Route, Threshold
from domain.finding import Severity
from domain.kinds import CHANNEL_UNDELIVERED, is_event
from domain.units import format_local_minute

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Silence:
    """Suppresses notifications of matching alerts for a time, with author and reason."""

    matcher: Matcher
    author: str
    reason: str
    starts_at: datetime
    ends_at: datetime
    id: int = 0

    def __str__(self) -> str:
        """Return the silence as text."""
        name = "maintenance window"
        if self.id:
            name = f"silence {self.id}"
        return f"{name} until {self.ends_at:%Y-%m-%d %H:%M} UTC by {self.author}: {self.reason}"


def _no_windows(_now: datetime) -> tuple[Silence, ...]:
    return ()


def _no_server(_alert: Alert) -> str:
    return ""


def _no_texts(_alert: Alert) -> tuple[str, str] | None:
    return None


@dataclass(frozen=True, slots=True)
class Policy:
    """The whole policy."""

    routes: Mapping[Severity, tuple[str, ...]]
    repeat: Mapping[Severity, timedelta] = field(
        default_factory=lambda: {
            Severity.HIGH: timedelta(hours=24),
            Severity.CRITICAL: timedelta(hours=1),
        }
    )
    instance: str = ""
    timezone: str = "UTC"
    """The zone of the times in messages."""
    page: str = ""
    """The address of the status page, without a slash at its end; empty without one."""
    rules: tuple[Route, ...] = ()
    thresholds: tuple[Threshold, ...] = ()
    tags: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """The tags of each database."""
    servers: Mapping[str, str] = field(default_factory=dict)
    """The address of the server of each database that shares it with another."""
    periods: Mapping[str, timedelta] = field(default_factory=dict)
    """The longest interval between the looks of each job."""
    reopen: timedelta = timedelta(hours=36)
    escalation_steps: tuple[EscalationStep, ...] = ()
    fallback: tuple[str, ...] = ()
    undelivered: timedelta = timedelta(minutes=5)
    hours: Hours | None = None
    """Business hours; non-critical repeats wait for them."""
    windows: Callable[[datetime], tuple[Silence, ...]] = _no_windows
    """The maintenance windows open at an instant."""
    channel_names: frozenset[str] | None = None
    """The configured channels; None for any. Removed channels are not notified."""
    grouping_channels: frozenset[str] = frozenset()
    """Channels whose messages may cover several alerts."""
    acknowledging_channels: frozenset[str] = frozenset()
    """Channels that are notified of acknowledgements."""
    editing_channels: frozenset[str] = frozenset()
    """Channels whose messages can be updated."""
    group_wait: timedelta = timedelta()
    group_interval: timedelta = timedelta()
    hide_addresses: bool = False
    languages: Mapping[str, Tongue] = field(default_factory=dict)
    """The language of each channel that has another one than English."""
    server_of: Callable[[Alert], str] = _no_server
    """Returns the first database of an alert's server; empty where there is one server only."""
    spanish: Callable[[Alert], tuple[str, str] | None] = _no_texts
    """Returns summary and remedy of an alert in Spanish; None if there are none."""

    def language_of(self, channel: str) -> Tongue:
        """Return the language of a channel."""
        return self.languages.get(channel, "en")

    def texts(self, alert: Alert, tongue: Tongue) -> tuple[str, str]:
        """Return summary and remedy of an alert in a language, in English if it has no other."""
        found = self.spanish(alert) if tongue == "es" else None
        return found or (alert.summary, alert.remedy)

    def channels(self, alert: Alert) -> tuple[str, ...]:
        """Return the channels of an alert: by matching route, else by severity."""
        rules = self.without(alert.object) if alert.kind == CHANNEL_UNDELIVERED.name else self
        more: list[str] = []
        for rule in rules.matching(alert):
            if not rule.continues:
                return tuple(dict.fromkeys((*rule.channels, *more)))
            more += rule.channels
        return tuple(dict.fromkeys((*rules.routes.get(alert.severity, ()), *more)))

    def without(self, channel: str) -> "Policy":
        """Return the policy without a channel, with the fallback added."""

        def others(names: Iterable[str]) -> tuple[str, ...]:
            return tuple(name for name in dict.fromkeys(names) if name != channel)

        # used if no other channel is configured
        all_channels = others(sorted(self.channel_names or ()))
        routes = {
            one: others((*names, *self.fallback)) or all_channels
            for one, names in self.routes.items()
        }
        rules = (rule.model_copy(update={"channels": others(rule.channels)}) for rule in self.rules)
        return replace(self, routes=routes, rules=tuple(rule for rule in rules if rule.channels))

    def next_repeat(self, alert: Alert, now: datetime) -> datetime | None:
        """Return the next repeat; a flapping alert repeats at most once a day."""
        own = next((rule.repeat for rule in self.matching(alert) if rule.repeat), None)
        interval = own or self.repeat.get(alert.severity)
        if interval is None:
            return None
        at = now + (max(interval, DAY) if alert.flapping else interval)
        urgent = alert.severity is Severity.CRITICAL
        if urgent or self.hours is None:
            return at
        return self.hours.opening(at)

    def local_time(self, instant: datetime) -> str:
        """Return an instant to the minute in the zone of messages, with the zone."""
        return format_local_minute(instant, self.timezone)

    def threshold(self, alert: Alert) -> Threshold:
        """Return the threshold of an alert; alerts that are found once have none."""
        if is_event(alert.kind):
            return Threshold()
        return next(
            (one for one in self.thresholds if one.matches(alert, self._tags(alert))),
            Threshold(),
        )

    def period(self, alert: Alert) -> timedelta:
        """Return the interval of the looks that find an alert."""
        return self.periods.get(alert.task, DAY)

    def reopening(self, alert: Alert) -> timedelta:
        """Return how long after its end a recurring alert keeps its number.

        Longer than one check interval.
        """
        return max(self.reopen, self.period(alert) * 8 / 7)

    def silenced(self, alert: Alert, silences: tuple[Silence, ...], now: datetime) -> str:
        """Return the silence or maintenance window that matches, as text."""
        meant = (
            str(one)
            for one in (*silences, *self.windows(now))
            if self.matches_silence(one, alert, now)
        )
        return next(meant, "")

    def matches_silence(self, silence: Silence, alert: Alert, now: datetime) -> bool:
        """Return whether a silence applies to an alert now."""
        return silence.starts_at <= now < silence.ends_at and silence.matcher.matches(
            alert, self._tags(alert)
        )

    def matching(self, alert: Alert) -> list[Route]:
        """Return the matching routes in order."""
        return [rule for rule in self.rules if rule.matches(alert, self._tags(alert))]

    def _tags(self, alert: Alert) -> frozenset[str]:
        return self.tags.get(alert.database, frozenset())
