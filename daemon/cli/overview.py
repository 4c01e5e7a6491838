"""The parts of the configuration that commands reading only the store need, loaded in milliseconds.

The full models import every job, check and channel. `status`, `history`, `alerts list` need a name,
a zone, a path and the schedules, which are read here straight from the TOML. Whatever does not fit
is left to the full load, which reports every mistake.
"""

import tomllib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from daemon.cli.options import (
    closed_output_ends_well,
    config_path,
    fail,
    load_configuration,
    plain_error,
)
from daemon.exit_codes import Exit
from daemon.scheduling.timetable import Timing, jitter_share
from domain.calendar import parse_cron
from domain.place import SEPARATOR, means
from domain.units import parse_duration
from store.opening import STATE_URLS, open_store
from store.store import Store, StoreError

SHORTEST_STALL = timedelta(seconds=10)
DEFAULT_STATE = "/var/lib/sereno/state.db"
DEFAULT_FOLDER = "/var/lib/sereno"
SECTIONS = frozenset(
    {
        *("daemon", "databases", "schedules", "fleet", "governor", "jobs", "checks", "watch"),
        *("channels", "routes", "repeat", "alerts", "escalation", "heartbeat", "migrations", "web"),
    }
)
DAEMON_KEYS = frozenset(
    {"name", "timezone", "state", "keep", "checks", "at_once", "listen", "folder"}
)
"""The known keys; a test compares them with the models."""


@dataclass(frozen=True, slots=True)
class Overview:
    """A configured sereno as the reading commands see it."""

    name: str
    zone: str
    store: Store
    databases: Mapping[str, tuple[str, frozenset[str]]]
    """The connection string and the tags of each database."""
    channels: tuple[str, ...]
    timings: Mapping[str, Timing]
    jobs: Mapping[str, tuple[str, ...]]
    """The jobs of each schedule."""
    has_maintenance: bool
    stalled_after: timedelta
    """A worker without a sign of life for so long is silent."""
    absent: Mapping[str, tuple[str, frozenset[str]]] = field(default_factory=dict)
    """The same of groups, and of databases of groups that are not there now."""
    chosen: frozenset[str] | None = None
    """The names to show, those of `absent` too; None for all."""

    def only(self, database: str | None, tags: Collection[str]) -> "Overview":
        """Return the overview of some databases; exit with 2 if there are none."""

        def chosen(some: Mapping[str, tuple[str, frozenset[str]]]) -> dict[str, Any]:
            return {
                name: one
                for name, one in some.items()
                if means(database, name) and set(tags) <= one[1]
            }

        found, absent = chosen(self.databases), chosen(self.absent)
        if not found and not absent:
            words = [database or "", f"with tag {' and '.join(tags)}" if tags else ""]
            fail(f"there is no database {' '.join(filter(None, words))}", Exit.CANNOT)
        names = frozenset(found.keys() | absent.keys())
        return replace(self, databases=found, absent=absent, chosen=names)

    def addresses(self) -> set[str]:
        """Return the addresses of the servers of the databases."""
        from daemon.config.servers import address_of

        return {address_of(dsn) for dsn, _ in (*self.databases.values(), *self.absent.values())}

    def now(self) -> datetime:
        """Return the current time."""
        return datetime.now(UTC)


@contextmanager
def open_overview(path: Path | None) -> Iterator[Overview]:
    """Open the state file; exit with 78 or 2 if that fails."""
    try:
        values = tomllib.loads(config_path(path).read_text("utf-8"))
        parts = _parts(values)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, ZoneInfoNotFoundError):
        load_configuration(path)
        raise
    try:
        with closed_output_ends_well():
            store = _existing_store(parts.pop("state"), parts.pop("folder"))
            yield Overview(store=store, **{**parts, **_found(store, values["databases"])})
    except (StoreError, OSError, UnicodeError) as error:
        fail(plain_error(error), Exit.CANNOT)


def _existing_store(place: str, folder: Path) -> Store:
    """Open the state; a command that only looks never creates one. Raises StoreError."""
    if place.startswith(STATE_URLS):
        return open_store(place, folder, create=False)
    path = Path(place)
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise StoreError(
            f"{path}: there is no state file yet; sereno install, now and run create it"
        ) from None
    if not size:
        raise StoreError(f"{path}: the state file is empty; restore a copy of it")
    return open_store(path)


def _found(store: Store, written: Mapping[str, Any]) -> dict[str, Any]:
    """Return connection string and tags of each database, those of groups too."""
    from daemon.history import found_databases

    databases: dict[str, tuple[str, frozenset[str]]] = {}
    absent: dict[str, tuple[str, frozenset[str]]] = {}
    for name, one in written.items():
        (absent if one.get("discover") else databases)[name] = _traits(one)
    if absent:
        with store.reading() as transaction:
            rows = found_databases.load_all(transaction)
        for row in rows:
            if row["origin"] in absent:
                known = absent if row["missing_since"] else databases
                known[f"{row['origin']}{SEPARATOR}{row['name']}"] = absent[row["origin"]]
    return {"databases": databases, "absent": absent}


def _traits(database: Mapping[str, Any]) -> tuple[str, frozenset[str]]:
    return database.get("dsn", ""), frozenset(database.get("tags", ()))


def _parts(values: Mapping[str, Any]) -> dict[str, Any]:
    daemon = values.get("daemon", {})
    if not (values.keys() <= SECTIONS and daemon.keys() <= DAEMON_KEYS):
        raise KeyError
    name, zone = daemon.get("name", "sereno"), daemon.get("timezone", "UTC")
    schedules = dict(values.get("schedules", {}))
    for job, options in values.get("jobs", {}).items():
        if "schedule" in options:
            schedules[job] = {**options["schedule"], "jobs": [job]}
    return {
        "name": name,
        "zone": zone,
        "state": daemon.get("state", DEFAULT_STATE),
        "folder": Path(daemon.get("folder", DEFAULT_FOLDER)),
        "databases": {},
        "channels": tuple(values.get("channels", {})),
        "timings": {key: _timing(name, zone, key, one) for key, one in schedules.items()},
        "jobs": {key: tuple(one["jobs"]) for key, one in schedules.items()},
        "stalled_after": max(
            parse_duration(values.get("fleet", {}).get("stalled_after", "30s")), SHORTEST_STALL
        ),
        "has_maintenance": bool(values.get("alerts", {}).get("maintenance")),
    }


def _timing(name: str, zone: str, schedule: str, values: Mapping[str, Any]) -> Timing:
    jitter = parse_duration(values["jitter"]) if "jitter" in values else timedelta()
    share = jitter_share(f"{name} {schedule}", jitter)
    return Timing(parse_cron(values["cron"]), ZoneInfo(zone), share)
