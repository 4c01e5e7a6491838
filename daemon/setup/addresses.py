"""The address for the logins of a new sereno, from the settings of the server. Pure."""

import ipaddress
from collections.abc import Iterator

from postgres.catalog.hba import Address, Logins, address_for_passwords, password_line
from postgres.catalog.survey import Server

_ANY = frozenset({"*", "0.0.0.0"})  # noqa: S104 - read, not listened on
_GROUPS = frozenset({"pg_monitor", "pg_maintain"})


def groups(server: Server) -> frozenset[str]:
    """Return the roles that the login `maintain` becomes a member of."""
    return _GROUPS & server.roles


def addresses(server: Server, host: str) -> Iterator[Address]:
    """Yield the addresses to try; `host` is that of the administrator's connection."""
    if host and not host.startswith("/"):
        if server.client_address is not None:
            yield Address(host, server.client_address)
        return
    listens = {one.strip() for one in server.listen_addresses.split(",")}
    if listens & (_ANY | {"localhost", "127.0.0.1"}):
        yield Address("127.0.0.1", "127.0.0.1")
    if listens & {"*", "::", "localhost", "::1"}:
        yield Address("::1", "::1")
    yield Address(host or "/run/postgresql", None)


def choose_address(server: Server, host: str, logins: Logins) -> tuple[Address, str] | None:
    """Return the first address that takes a password of the logins, and the method of its rule.

    None if pg_hba.conf has no rule for it. Without a right to read the rules the first address is
    taken, with an empty method.
    """
    found = list(addresses(server, host))
    if server.hba is None:
        return (found[0], "") if found else None
    return address_for_passwords(server.hba, found, logins, ssl=server.ssl)


def missing_line(server: Server, host: str, logins: Logins) -> str:
    """Return the line that pg_hba.conf needs for the first address."""
    return password_line(next(addresses(server, host)), logins)


def is_local(host: str) -> bool:
    """Return whether a host is this machine: a socket or a loopback address."""
    if not host or host.startswith("/") or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
