"""The servers of the configured databases, told apart by the address in the connection string."""

import os
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from psycopg.conninfo import conninfo_to_dict

if TYPE_CHECKING:
    from daemon.config.model import Config

SESSIONS = 4
"""How many sessions work in one server where `at_once` is not given."""
_LOOPBACK = {"127.0.0.1": "localhost", "::1": "localhost"}


@lru_cache(maxsize=4096)
def address_of(dsn: str) -> str:
    """Return the address of a server as one word: `host:port`, or the name of its service."""
    parts = conninfo_to_dict(dsn)
    if parts.get("service"):
        return f"service {parts['service']}"
    host = str(parts.get("host") or parts.get("hostaddr") or os.environ.get("PGHOST") or "local")
    port = parts.get("port") or os.environ.get("PGPORT") or "5432"
    return f"{_LOOPBACK.get(host, host).lower()}:{port}"


@lru_cache(maxsize=4096)
def database_of(dsn: str, user: str = "") -> str:
    """Return the name of the database of a connection string; libpq's default is the user's."""
    parts = conninfo_to_dict(dsn)
    named = parts.get("dbname") or os.environ.get("PGDATABASE")
    return str(named or user or parts.get("user") or os.environ.get("PGUSER") or "")


def addresses(config: "Config") -> dict[str, str]:
    """Return the address of the server of each database."""
    return {name: address_of(database.dsn) for name, database in config.databases.items()}


def shared_servers(config: "Config") -> dict[str, str]:
    """Return the address of the server of each database that is not alone on it."""
    found = addresses(config)
    count = Counter(found.values())
    return {name: address for name, address in found.items() if count[address] > 1}


def server_keys(config: "Config", identifiers: Mapping[str, str]) -> dict[str, str]:
    """Return what tells the server of each database: its system identifier, else its address.

    `identifiers` are those of the databases that have been met; two addresses may lead to one
    server.
    """
    found = addresses(config)
    known = {found[name]: one for name, one in identifiers.items() if name in found}
    return {
        name: identifiers.get(name) or known.get(address, address)
        for name, address in found.items()
    }


def session_limits(config: "Config", keys: Mapping[str, str]) -> dict[str, int]:
    """Return how many sessions may work at once in each server, by its key.

    The smallest `at_once` of its databases; without any, as many as one run of `vacuum` needs.
    """
    limits: dict[str, int] = {}
    for name, key in keys.items():
        limit = session_limit(config, name)
        limits[key] = min(limits.get(key, limit), limit)
    return limits


def session_limit(config: "Config", database: str) -> int:
    """Return how many sessions one database allows in its server at once."""
    given = config.databases[database].at_once
    return given or max(SESSIONS, 1 + config.job("vacuum").parallel)
