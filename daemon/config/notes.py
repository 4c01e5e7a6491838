"""Warnings: valid settings that do not fit this machine or have no effect."""

import fnmatch
import ipaddress
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from psycopg.conninfo import conninfo_to_dict
from pydantic import BaseModel

from checks import registry
from daemon.config.daemon import Daemon
from daemon.config.model import Config
from daemon.config.servers import address_of, addresses
from daemon.config.values import split_address
from domain.calendar import longest_gap
from domain.kinds import KINDS
from domain.secret import Secret, SecretError
from domain.units import format_duration, some_of

_USUAL_CHECKS = "/etc/sereno/checks.d"


def configuration_notes(config: Config) -> Iterator[str]:
    """Yield a line per warning."""
    yield from _daemon(config.daemon)
    yield from _coordinator(config)
    for name, database in config.databases.items():
        if conninfo_to_dict(database.dsn).get("password"):
            yield (
                f"databases.{name}.dsn: contains a password; a file or credential of the logins "
                "is safer"
            )
        yield from _pattern(name, database.discover)
    for path, secret in _secrets(config, ""):
        if secret.file is None and (wrong := _unusable(secret)):
            yield f"{path}: {wrong}"
    if not any("self_cleanup" in schedule.jobs for schedule in config.timetable.values()):
        yield "schedules: none contains self_cleanup; sereno's own history grows without limit"
    yield from _schedules(config)
    for number, table in enumerate(config.job("archive").tables):
        if table.to.folder and not Path(table.to.folder).parent.is_dir():
            folder = Path(table.to.folder).parent
            yield f"jobs.archive.tables[{number}].to: the folder {folder} does not exist"
    yield from _expired(config)
    if not config.channels:
        yield "channels: none is configured; alerts are stored, and nobody is notified"
    yield from _alerting(config)
    yield from _channels(config)


def _pattern(name: str, pattern: str) -> Iterator[str]:
    """Yield notes about a pattern of LIKE: a wildcard of another kind, or none."""
    if "*" in pattern:
        yield f"databases.{name}.discover: * stands for itself; the wildcard is %"
    elif pattern and not set("%_") & set(pattern):
        yield f"databases.{name}.discover: without % or _ it fits one database alone"


def _expired(config: Config) -> Iterator[str]:
    """Yield the ignored objects of checks whose time is over."""
    today = datetime.now(UTC).date()
    for name, options in config.checks.items():
        for number, one in enumerate(options.ignore):
            if one.until < today:
                yield (
                    f"checks.{name}.ignore[{number}]: ended on {one.until}; findings about "
                    f"{one.object} are told again"
                )


def _schedules(config: Config) -> Iterator[str]:
    """Yield schedules whose windows overlap, and a report that nobody is sent."""
    if not config.timetable:
        yield "schedules: there is none; jobs run by `sereno now` only"
    zone, now = ZoneInfo(config.daemon.timezone), datetime.now(UTC)
    for name, schedule in config.timetable.items():
        gap = longest_gap(schedule.cron, zone, now)
        if "window" in schedule.model_fields_set and schedule.window > gap:
            yield (
                f"schedules.{name}.window: {format_duration(schedule.window)} is longer than the "
                f"{format_duration(gap)} between two due times"
            )
        if schedule.jitter is not None and schedule.jitter >= gap:
            yield (
                f"schedules.{name}.jitter: {format_duration(schedule.jitter)} is longer than the "
                f"{format_duration(gap)} between two due times"
            )
    yield from _unscheduled(config)
    reported = any("health_report" in one.jobs for one in config.timetable.values())
    if reported and not any(one.type == "email" for one in config.channels.values()):
        yield "health_report: no email channel is configured; the report is stored as a page only"


def _unscheduled(config: Config) -> Iterator[str]:
    """Yield jobs with entries that no schedule runs."""
    scheduled = {job for one in config.timetable.values() for job in one.jobs}
    for job, entries in (("log_cleanup", ("tables", "files")), ("archive", ("tables",))):
        if job not in scheduled and any(getattr(config.job(job), name) for name in entries):
            yield f"jobs.{job}: no schedule contains it; it runs by `sereno now` only"
    if "integrity_check" not in scheduled and any(one.pairs for one in config.checks.values()):
        yield "jobs.integrity_check: no schedule contains it; the declared pairs are not checked"


def _channels(config: Config) -> Iterator[str]:
    """Yield severities without a channel, channels without a route, and doubtful channels."""
    lists = [*config.routes.model_dump().values(), config.escalation.fallback]
    lists += [one.channels for one in config.alerts.routes]
    lists += [one.channels for one in config.escalation.steps]
    routed = {name for names in lists for name in names}
    for severity, names in config.routes.model_dump().items():
        if config.channels and not names and severity != "info":
            yield (
                f"routes.{severity}: no channel is notified of {severity} alerts; only the "
                "weekly report shows them"
            )
    for name, channel in config.channels.items():
        yield from (f"channels.{name}.{key}: {why}" for key, why in channel.warnings())
    for name in config.channels.keys() - routed:
        yield f"channels.{name}: no route uses it"


def _alerting(config: Config) -> Iterator[str]:
    """Yield alert rules that match nothing or notify nobody."""
    yield from _unmatched(config)
    zone, now = ZoneInfo(config.daemon.timezone), datetime.now(UTC)
    for number, one in enumerate(config.alerts.maintenance):
        gap = longest_gap(one.cron, zone, now)
        if one.duration >= gap:
            yield (
                f"alerts.maintenance[{number}].duration: {format_duration(one.duration)} is not "
                f"shorter than the {format_duration(gap)} between two windows: matching alerts "
                "never notify"
            )
    if "every" in config.heartbeat.model_fields_set and config.heartbeat.url is None:
        yield "heartbeat: it has no url; nothing is pinged"
    for number, route in enumerate(config.alerts.routes):
        if not route.channels:
            yield f"alerts.routes[{number}].channels: matching alerts notify nobody"


def _unmatched(config: Config) -> Iterator[str]:
    """Yield the patterns of rules that match nothing."""
    jobs = type(config.jobs).model_fields.keys() | config.timetable.keys()
    checks = registry.load().keys() | registry.FROM_JOBS.keys() | KINDS.keys()
    checks |= {path.name.partition(".")[0] for path in config.daemon.checks.glob("*.sql")}
    tags = {tag for database in config.databases.values() for tag in database.tags}
    for name in ("thresholds", "routes", "maintenance"):
        for number, rule in enumerate(getattr(config.alerts, name)):
            path = f"alerts.{name}[{number}]"
            for key, pattern, known in (
                ("database", rule.database, config.databases),
                ("job", rule.job, jobs),
                ("check", rule.check, checks),
            ):
                if pattern != "*" and not _matches(config, key, pattern, known):
                    yield f"{path}.{key}: {pattern!r} matches none of {', '.join(sorted(known))}"
            if rule.tag and rule.tag not in tags:
                yield f"{path}.tag: no database has the tag {rule.tag!r}"


def _matches(config: Config, key: str, pattern: str, known: Collection[str]) -> bool:
    """Return whether a pattern matches something that is there, or that a group may find."""
    if key == "database" and config.may_have(pattern):
        return True
    return bool(fnmatch.filter(known, pattern))


def unusable_secret_files(config: Config) -> Iterator[str]:
    """Yield a line per file of a secret that is missing, empty, or readable by everybody."""
    for path, secret in _secrets(config, ""):
        if secret.file is not None and (wrong := _unusable(secret)):
            # the name of the key last: what follows "password:" is redacted
            yield f"{wrong} ({path})"


def _unusable(secret: Secret) -> str:
    """Return why a secret cannot be read; empty if it can."""
    try:
        secret.reveal()
    except SecretError as error:
        return str(error)
    return ""


def _secrets(model: object, path: str) -> Iterator[tuple[str, Secret]]:
    """Yield every secret with its path."""
    if isinstance(model, Secret):
        yield path, model
    elif isinstance(model, BaseModel):
        for name in type(model).model_fields:
            yield from _secrets(getattr(model, name), f"{path}.{name}".lstrip("."))
    elif isinstance(model, dict):
        for name, value in model.items():
            yield from _secrets(value, f"{path}.{name}")


def _coordinator(config: Config) -> Iterator[str]:
    """Yield that the state is in a server that is maintained."""
    if isinstance(config.daemon.state, Path):
        return
    state = address_of(config.daemon.state)
    names = [name for name, address in addresses(config).items() if address == state]
    if names:
        yield (
            f"daemon.state: it is in the server of {some_of(names)}: when that one is down, no run "
            "begins anywhere, and its alert is not recorded"
        )


def _daemon(daemon: Daemon) -> Iterator[str]:
    state, folder = daemon.state, daemon.local_folder
    if isinstance(state, Path) and not state.parent.is_dir():
        yield f"daemon.state: the folder {state.parent} does not exist"
    elif not folder.is_dir():
        yield f"daemon.folder: the folder {folder} does not exist"
    if isinstance(state, Path) and state.is_dir():
        yield f"daemon.state: {state} is a folder; give the path of a file"
    if str(daemon.checks) != _USUAL_CHECKS and not daemon.checks.is_dir():
        what = "is not a folder" if daemon.checks.exists() else "does not exist"
        yield f"daemon.checks: the folder {daemon.checks} {what}"
    if daemon.listen and not ipaddress.ip_address(split_address(daemon.listen)[0]).is_loopback:
        yield (
            "daemon.listen: everyone who reaches this address can read the names of databases "
            "and tasks"
        )
