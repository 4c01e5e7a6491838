"""The operator's rules, as values: who hears of what, when, how often, and what keeps it from being told. Pure."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from alerts.alert import Alert
from alerts.hours import Hours
from domain.finding import Severity

DAY = timedelta(days=1)
UNDELIVERED = "channel_undelivered"
"""Its object is the channel, on which it is not told."""
ONCE = frozenset(
    {
        UNDELIVERED, "recipient_refused", "configuration_invalid", "metrics_unreachable", "service_failed",
        "task_missed", "task_orphaned",
    }
)  # fmt: skip
"""What is found once, when it happens, and not again and again."""


@dataclass(frozen=True, slots=True)
class Matcher:
    """Which alerts are meant: each pattern (as the shell has them) that is given has to fit."""

    severity: tuple[Severity, ...] = ()
    database: str = "*"
    job: str = "*"
    check: str = "*"
    object: str = "*"
    tag: str = ""

    def matches(self, alert: Alert, tags: frozenset[str] = frozenset()) -> bool:
        """Say whether an alert is meant; `tags` are those of its database."""
        pairs = (
            (alert.database, self.database),
            (alert.task, self.job),
            (alert.kind, self.check),
            (alert.object, self.object),
        )
        return (
            (not self.severity or alert.severity in self.severity)
            and all(fnmatchcase(value, pattern) for value, pattern in pairs)
            and (not self.tag or self.tag in tags)
        )


@dataclass(frozen=True, slots=True)
class Silence:
    """Nobody is told of what it matches while it lasts; who wants that, and why."""

    matcher: Matcher
    author: str
    reason: str
    starts_at: datetime
    ends_at: datetime
    id: int = 0

    def __str__(self) -> str:
        """Say it in words."""
        name = f"silence {self.id}" if self.id else "maintenance window"
        return f"{name} until {self.ends_at:%Y-%m-%d %H:%M} UTC by {self.author}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Threshold:
    """When it is told, and when it counts as over: after so many looks in a row, and after so long."""

    matcher: Matcher = Matcher()
    failures: int = 1
    lasting: timedelta = timedelta()
    passes: int = 1


@dataclass(frozen=True, slots=True)
class Route:
    """Other channels than its severity's, or (`more`) others besides; its own time until it is told again."""

    matcher: Matcher
    channels: tuple[str, ...]
    more: bool = False
    repeat: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Rung:
    """Who is told of a critical alert that nobody has acknowledged for so long."""

    after: timedelta
    channels: tuple[str, ...]


def _no_windows(_now: datetime) -> tuple[Silence, ...]:
    return ()


@dataclass(frozen=True, slots=True)
class Policy:
    """All of it."""

    routes: Mapping[Severity, tuple[str, ...]]
    repeat: Mapping[Severity, timedelta] = field(
        default_factory=lambda: {Severity.HIGH: timedelta(hours=24), Severity.CRITICAL: timedelta(hours=1)}
    )
    instance: str = ""
    rules: tuple[Route, ...] = ()
    thresholds: tuple[Threshold, ...] = ()
    tags: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Of each database."""
    periods: Mapping[str, timedelta] = field(default_factory=dict)
    """How far apart the looks of a task are, at the most."""
    reopen: timedelta = timedelta(hours=36)
    ladder: tuple[Rung, ...] = ()
    fallback: tuple[str, ...] = ()
    undelivered: timedelta = timedelta(minutes=5)
    hours: Hours | None = None
    """When people are at work: what is not critical is repeated then."""
    windows: Callable[[datetime], tuple[Silence, ...]] = _no_windows
    """The maintenance windows that are open at an instant."""
    ways: frozenset[str] | None = None
    """The channels that there are; None: any. What was told on one that was taken out is told there no more."""
    bundling: frozenset[str] = frozenset()
    """Channels of which one message may stand for several alerts."""
    conversing: frozenset[str] = frozenset()
    """Channels that want to know who has acknowledged."""
    editing: frozenset[str] = frozenset()
    """Channels on which what was said can be brought up to date."""
    group_wait: timedelta = timedelta()
    group_interval: timedelta = timedelta()
    hide_addresses: bool = False

    def channels(self, alert: Alert) -> tuple[str, ...]:
        """Return who is told of it: its severity's channels, unless a rule says otherwise."""
        rules = self.without(alert.object) if alert.kind == UNDELIVERED else self
        more: list[str] = []
        for rule in rules.matching(alert):
            if not rule.more:
                return tuple(dict.fromkeys((*rule.channels, *more)))
            more += rule.channels
        return tuple(dict.fromkeys((*rules.routes.get(alert.severity, ()), *more)))

    def without(self, channel: str) -> "Policy":
        """Return the same rules without a channel; the fallback hears of it besides."""

        def others(names: Iterable[str]) -> tuple[str, ...]:
            return tuple(name for name in dict.fromkeys(names) if name != channel)

        everybody = others(sorted(self.ways or ()))  # is meant where nobody else is
        routes = {one: others((*names, *self.fallback)) or everybody for one, names in self.routes.items()}
        rules = (replace(rule, channels=others(rule.channels)) for rule in self.rules)
        return replace(self, routes=routes, rules=tuple(rule for rule in rules if rule.channels))

    def next_repeat(self, alert: Alert, now: datetime) -> datetime | None:
        """Return when it would be told again; what flaps no sooner than in a day."""
        own = next((rule.repeat for rule in self.matching(alert) if rule.repeat), None)
        interval = own or self.repeat.get(alert.severity)
        if interval is None:
            return None
        at = now + (max(interval, DAY) if alert.flapping else interval)
        urgent = alert.severity is Severity.CRITICAL
        return at if urgent or self.hours is None else self.hours.opening(at)

    def threshold(self, alert: Alert) -> Threshold:
        """Return what has to be so before it is told. Of what no look repeats, nothing has."""
        if alert.kind in ONCE:
            return Threshold()
        return next((one for one in self.thresholds if one.matcher.matches(alert, self._tags(alert))), Threshold())

    def period(self, alert: Alert) -> timedelta:
        """Return how far apart the looks are that find it."""
        return self.periods.get(alert.task, DAY)

    def reopening(self, alert: Alert) -> timedelta:
        """Return for how long after its end it is the same alert when it comes back: over one missed look, at least."""
        return max(self.reopen, self.period(alert) * 8 / 7)

    def silenced(self, alert: Alert, silences: tuple[Silence, ...], now: datetime) -> str:
        """Return the silence or window that keeps it quiet, in words."""
        meant = (str(one) for one in (*silences, *self.windows(now)) if self.hushes(one, alert, now))
        return next(meant, "")

    def hushes(self, silence: Silence, alert: Alert, now: datetime) -> bool:
        """Say whether a silence keeps an alert quiet now."""
        return silence.starts_at <= now < silence.ends_at and silence.matcher.matches(alert, self._tags(alert))

    def matching(self, alert: Alert) -> list[Route]:
        """Return the rules that fit, in their order."""
        return [rule for rule in self.rules if rule.matcher.matches(alert, self._tags(alert))]

    def _tags(self, alert: Alert) -> frozenset[str]:
        return self.tags.get(alert.database, frozenset())
