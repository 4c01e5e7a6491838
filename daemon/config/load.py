"""Loads the configuration; all mistakes are reported at once."""

import difflib
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from alerts.channels.registry import CHANNELS
from checks.options import CheckOptions
from checks.registry import Known, load
from checks.sql_check import BadCheckError
from daemon.config.check_options import check_options
from daemon.config.contradictions import contradictions
from daemon.config.model import Config
from daemon.config.problem import Problem, problems_of
from domain.place import SEPARATOR

DEFAULT = Path("/etc/sereno/config.toml")


class ConfigError(Exception):
    """The configuration is invalid; `problems` has a line per mistake."""

    def __init__(self, path: Path, problems: Sequence[str]) -> None:
        super().__init__("\n".join([f"{path}:", *(f"  {problem}" for problem in problems)]))
        self.path, self.problems = path, tuple(problems)


def load_config(path: Path, jobs: Collection[str], *, with_checks: bool = True) -> Config:
    """Load a configuration that may name these jobs. Raises ConfigError with all mistakes.

    Without checks no file of a check is read, and the options of checks are left out.
    """
    try:
        values = tomllib.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(path, ["the file does not exist (--config, $SERENO_CONFIG)"]) from None
    except UnicodeDecodeError:
        raise ConfigError(path, ["is not UTF-8 text"]) from None
    except OSError as error:
        raise ConfigError(path, [f"cannot be read: {error.strerror}"]) from None
    except tomllib.TOMLDecodeError as error:
        hint = ""
        if r"'\n'" in str(error):
            hint = "; is a quote or a bracket of that line not closed?"
        raise ConfigError(path, [f"is not TOML: {error}{hint}"]) from None
    return parse(path, values, jobs, with_checks=with_checks)


def parse(
    path: Path, values: Mapping[str, Any], jobs: Collection[str], *, with_checks: bool = True
) -> Config:
    """Return the configuration of parsed TOML; `path` is used in errors only."""
    problems: list[Problem] = []
    problems += _dangling(values, jobs)
    parsed = {
        **values,
        "channels": _channels(values.get("channels"), problems),
        "checks": _check_options(values, problems) if with_checks else {},
    }
    try:
        config = Config.model_validate(parsed, by_name=False)
    except ValidationError as error:
        problems += problems_of(error, Config, ())
    else:
        problems += contradictions(config)
        if not problems:
            return config
    raise ConfigError(path, [str(problem) for problem in sorted(problems)])


def _check_options(
    values: Mapping[str, Any], problems: list[Problem]
) -> Mapping[str, CheckOptions]:
    checks = _checks(values, problems)
    path = "jobs.integrity_check.exclude"
    problems += _unknown("check", _at(values, *path.split(".")), checks, path)
    watched = _at(values, "watch", "checks")
    problems += _unknown("check", watched, checks, "watch.checks")
    problems += _not_cheap(watched, checks)
    return check_options(values.get("checks"), checks, problems)


def _not_cheap(names: object, checks: Known) -> Iterator[Problem]:
    """Yield the watched checks that read tables."""
    for name in names if isinstance(names, list) else ():
        header = checks[name].header if name in checks else None
        if header is not None and (header.cost != "cheap" or header.reads != "catalog"):
            reason = f"{name!r} reads tables; only checks of the catalog can run every few minutes"
            yield Problem("watch.checks", reason)


def _checks(values: Mapping[str, Any], problems: list[Problem]) -> Known:
    """Load the checks, whose options are part of the grammar."""
    daemon = values.get("daemon")
    folder = "/etc/sereno/checks.d"
    if isinstance(daemon, Mapping):
        folder = daemon.get("checks", "/etc/sereno/checks.d")
    try:
        return load(Path(str(folder)))
    except BadCheckError as error:
        problems += [Problem("daemon.checks", line) for line in str(error).splitlines()]
        return load()


def _channels(values: object, problems: list[Problem]) -> dict[str, BaseModel]:
    """Parse each channel by the model of its type."""
    channels: dict[str, BaseModel] = {}
    if not isinstance(values, Mapping):
        if values is not None:
            problems.append(Problem("channels", "must be a table"))
        return channels
    for name, options in values.items():
        path = ("channels", name)
        kind = options.get("type") if isinstance(options, Mapping) else None
        if not isinstance(kind, str) or kind not in CHANNELS:
            problems.append(
                Problem(f"channels.{name}.type", f"{kind!r} is not one of {', '.join(CHANNELS)}")
            )
            continue
        model = CHANNELS[kind][0]
        try:
            channels[name] = model.model_validate(options, by_name=False)
        except ValidationError as error:
            problems += problems_of(error, model, path)
    return channels


def _dangling(values: Mapping[str, Any], jobs: Collection[str]) -> Iterator[Problem]:
    """Yield references to unknown jobs, channels and databases."""
    for schedule, path, job in _listed(values.get("schedules"), "schedules", "jobs"):
        if job not in jobs:
            yield Problem(path, f"{job!r} is not a job{_nearest(job, jobs)} (schedule {schedule})")
    schedules = _at(values, "schedules")
    for name in schedules if isinstance(schedules, Mapping) else ():
        if _at(values, "jobs", name, "schedule") is not None:
            yield Problem(
                f"schedules.{name}",
                f"the job {name} has a schedule of its own; give the list another name",
            )
    yield from _without_channel(values)
    yield from _unknown_keys(values)


def _without_channel(values: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield references to unknown channels."""
    channels, routes = (_at(values, name) for name in ("channels", "routes"))
    for severity, names in routes.items() if isinstance(routes, Mapping) else ():
        yield from _unknown("channel", names, channels, f"routes.{severity}")
    for path in ("jobs.health_report.channels", "escalation.fallback"):
        yield from _unknown("channel", _at(values, *path.split(".")), channels, path)
    for path in ("alerts.routes", "escalation.steps"):
        listed = _at(values, *path.split("."))
        for number, one in enumerate(listed if isinstance(listed, list) else ()):
            yield from _unknown(
                "channel", _at(one, "channels"), channels, f"{path}[{number}].channels"
            )


def _unknown_keys(values: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield tables of unknown databases."""
    databases = _at(values, "databases")
    for job in ("log_cleanup", "archive"):
        tables = _at(values, "jobs", job, "tables")
        for number, table in enumerate(tables if isinstance(tables, list) else ()):
            name = _at(table, "database")
            if name is not None:
                yield from _unknown(
                    "database", name, databases, f"jobs.{job}.tables[{number}].database"
                )


def _at(values: object, *keys: str) -> object:
    """Return a nested value, None if any level is missing."""
    for key in keys:
        values = values.get(key) if isinstance(values, Mapping) else None
    return values


def _unknown(kind: str, names: object, known: object, path: str) -> Iterator[Problem]:
    """Yield the names that are not keys of `known`."""
    there = list(known) if isinstance(known, Mapping) else []
    if names is None:
        return
    listed = names if isinstance(names, list) else [names]
    for number, name in enumerate(listed):
        if not isinstance(name, str) or (name not in there and not _in_group(name, known)):
            place = f"{path}[{number}]" if isinstance(names, list) else path
            yield Problem(place, f"there is no {kind} {name!r}{_nearest(name, there)}")


def _in_group(name: str, databases: object) -> bool:
    """Return whether a name is that of a database that a group may find."""
    return bool(_at(_at(databases, name.partition(SEPARATOR)[0]), "discover"))


def _listed(values: object, section: str, key: str) -> Iterator[tuple[str, str, str]]:
    for name, table in values.items() if isinstance(values, Mapping) else ():
        items = table.get(key) if isinstance(table, Mapping) else None
        for number, item in enumerate(items if isinstance(items, list) else ()):
            yield name, f"{section}.{name}.{key}[{number}]", str(item)


def _nearest(name: object, known: Collection[str]) -> str:
    close = difflib.get_close_matches(str(name), known, 1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f" (known: {', '.join(known) or 'none'})"
