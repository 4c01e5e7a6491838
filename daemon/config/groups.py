"""Groups: entries of [databases] that stand for all databases of a server with fitting names."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.conninfo import make_conninfo

from daemon.config.model import Config, Database
from daemon.config.servers import address_of
from domain.place import SEPARATOR


class FoundDatabase(Database):
    """A database of a group; it was found on the server and is configured as its group is."""

    group: str = ""
    since: datetime | None = None
    """The last time that it was not there yet."""
    prepared: bool | None = None
    """Whether it has the schema `sereno`; None if no run has looked yet."""


@dataclass(frozen=True, slots=True)
class Found:
    """A database that was found, and is there."""

    group: str
    name: str
    since: datetime
    prepared: bool | None

    @property
    def member(self) -> str:
        """Return the name that it has in sereno."""
        return member_name(self.group, self.name)


def member_name(group: str, name: str) -> str:
    """Return the name of a database of a group."""
    return f"{group}{SEPARATOR}{name}"


def groups_of(config: Config) -> dict[str, Database]:
    """Return the groups of a configuration as it is written."""
    return {name: one for name, one in config.databases.items() if one.discover}


def with_found(config: Config, found: Iterable[Found]) -> Config:
    """Return the configuration with the databases of each group instead of the group."""
    members: dict[str, list[Found]] = {}
    for one in found:
        members.setdefault(one.group, []).append(one)
    databases: dict[str, Database] = {}
    for name, database in config.databases.items():
        if database.discover:
            databases |= _members(database, members.get(name, ()))
        else:
            databases[name] = database
    return config.model_copy(update={"databases": databases})


def one_per_server(config: Config) -> list[str]:
    """Return the databases of a configuration, of those that were found only one of each server."""
    apart = {
        address_of(one.dsn)
        for one in config.databases.values()
        if not isinstance(one, FoundDatabase)
    }
    names = []
    for name, one in config.databases.items():
        if not isinstance(one, FoundDatabase):
            names.append(name)
        elif address_of(one.dsn) not in apart:
            apart.add(address_of(one.dsn))
            names.append(name)
    return names


def _members(group: Database, found: Sequence[Found]) -> Mapping[str, Database]:
    shared: dict[str, Any] = {key: value for key, value in group if key not in {"dsn", "discover"}}
    return {
        one.member: FoundDatabase.model_construct(
            **shared,
            dsn=make_conninfo(group.dsn, dbname=one.name),
            discover="",
            group=one.group,
            since=one.since,
            prepared=one.prepared,
        )
        for one in found
    }
