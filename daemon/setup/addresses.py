"""The address for the logins of a new sereno, from the settings of the server. Pure."""

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from postgres.catalog.hba import Address, Logins, address_for_passwords, password_line
from postgres.catalog.survey import Server

_ANY = frozenset({"*", "0.0.0.0"})  # noqa: S104 - read, not listened on
_GROUPS = frozenset({"pg_monitor", "pg_maintain"})


_MAINTAIN_ROLE_SINCE = 170000


@dataclass(frozen=True, slots=True)
class Reached:
    """The connection by which the administrator reached the server."""

    host: str
    """The host that libpq has connected to, or the folder of the socket."""
    port: int
    """The port of that connection, which a forward may have changed."""
    options: Mapping[str, str] = field(default_factory=dict)
    """The parameters of encryption that it was made with."""


def groups(server: Server, maintain: str, owners: Iterable[str]) -> Mapping[str, frozenset[str]]:
    """Return the roles that the login `maintain` becomes a member of; `data` joins none.

    Before PostgreSQL 17 it joins the owners of the tables.
    """
    joined = _GROUPS & server.roles
    if server.version < _MAINTAIN_ROLE_SINCE:
        joined |= set(owners)
    return {maintain: joined}


def addresses(server: Server, reached: Reached) -> Iterator[Address]:
    """Yield the addresses to try, in the order of preference."""
    if not reached.host.startswith("/"):
        if server.client_address is not None:
            yield Address(reached.host, server.client_address)
        return
    listens = {one.strip() for one in server.listen_addresses.split(",")}
    if listens & (_ANY | {"localhost", "127.0.0.1"}):
        yield Address("127.0.0.1", "127.0.0.1")
    if listens & {"*", "::", "localhost", "::1"}:
        yield Address("::1", "::1")
    yield Address(reached.host, None)


def choose_address(server: Server, reached: Reached, logins: Logins) -> tuple[Address, str] | None:
    """Return the first address that takes a password of the logins, and the method of its rule.

    None if pg_hba.conf has no rule for it. Without a right to read the rules the first address is
    taken, with an empty method.
    """
    found = list(addresses(server, reached))
    if server.hba is None:
        return (found[0], "") if found else None
    return address_for_passwords(server.hba, found, logins, ssl=server.ssl)


def missing_line(server: Server, reached: Reached, logins: Logins) -> str:
    """Return the line that pg_hba.conf needs for the first address."""
    return password_line(next(addresses(server, reached)), logins)


def is_local(server: Server, reached: Reached) -> bool:
    """Return whether the server runs on this machine, outside of any container."""
    if reached.host.startswith("/"):
        return True
    client = server.client_address
    return client is not None and ipaddress.ip_address(client).is_loopback
