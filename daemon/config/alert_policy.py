"""Builds the alert policy from the configuration. Pure."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from alerts.catalogue import Tongue
from alerts.hours import Hours
from alerts.policy import Policy, Silence
from alerts.rules import Maintenance
from daemon.config.model import Config, Database
from daemon.config.servers import shared_servers
from domain.calendar import latest, longest_gap
from domain.finding import Severity


def build_policy(
    config: Config, now: datetime, tagged: Mapping[str, Database] | None = None
) -> Policy:
    """Return the policy; gaps between looks are measured from `now`.

    `tagged` has further names with tags: groups, and databases that are not there now.
    """
    alerts, escalation = config.alerts, config.escalation
    traits = {name: options.traits for name, options in config.channels.items()}
    zone = config.daemon.timezone
    return Policy(
        routes={severity: getattr(config.routes, severity.value) for severity in Severity},
        repeat={Severity.HIGH: config.repeat.high, Severity.CRITICAL: config.repeat.critical},
        instance=config.daemon.name,
        timezone=config.daemon.timezone,
        page=config.web.page,
        rules=alerts.routes,
        thresholds=alerts.thresholds,
        tags=_tags(tagged or config.databases),
        servers=shared_servers(config),
        periods=_periods(config, now),
        reopen=alerts.reopen,
        escalation_steps=tuple(sorted(escalation.steps, key=lambda step: step.after)),
        fallback=escalation.fallback,
        undelivered=escalation.undelivered,
        hours=Hours.read(alerts.business_hours, zone) if alerts.business_hours else None,
        windows=lambda at: tuple(
            filter(None, (_window(one, ZoneInfo(zone), at) for one in alerts.maintenance))
        ),
        channel_names=frozenset(traits),
        grouping_channels=frozenset(name for name, one in traits.items() if one.groups),
        acknowledging_channels=frozenset(
            name for name, one in traits.items() if one.wants_acknowledgements
        ),
        editing_channels=frozenset(name for name, one in traits.items() if one.edits),
        group_wait=alerts.group_wait,
        group_interval=alerts.group_interval,
        hide_addresses=alerts.hide_addresses,
        languages=channel_languages(config),
    )


def _tags(databases: Mapping[str, Database]) -> dict[str, frozenset[str]]:
    return {name: frozenset(one.tags) for name, one in databases.items()}


def channel_languages(config: Config) -> dict[str, Tongue]:
    """Return the language of each channel: its own, or that of the health report."""
    usual = config.job("health_report").language
    return {name: options.language or usual for name, options in config.channels.items()}


def _window(one: Maintenance, zone: ZoneInfo, at: datetime) -> Silence | None:
    """Return the maintenance window that is open at an instant."""
    due = latest(one.cron, zone, at)
    if due is None or at >= due.instant + one.duration:
        return None
    return Silence(one, one.author, one.reason, due.instant, due.instant + one.duration)


def _periods(config: Config, now: datetime) -> dict[str, timedelta]:
    """Return the longest interval between the runs of each job."""
    zone = ZoneInfo(config.daemon.timezone)
    found: dict[str, timedelta] = {}
    for schedule in config.timetable.values():
        gap = longest_gap(schedule.cron, zone, now)
        for job in schedule.jobs:
            found[job] = min(gap, found.get(job, gap))
    return found
