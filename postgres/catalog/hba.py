"""pg_hba.conf: the address for which it lets logins in with a password. Pure.

The first rule that matches a connection decides (manual, 21.1 The pg_hba.conf File).
"""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from postgres.identifiers import quote_identifier

PASSWORD_METHODS = frozenset({"scram-sha-256", "md5", "password"})
_ENCRYPTED = {"hostssl": True, "hostnossl": False}


@dataclass(frozen=True, slots=True)
class HbaRule:
    """A rule, as in the view pg_hba_file_rules."""

    kind: str
    databases: Sequence[str]
    users: Sequence[str]
    address: str | None
    netmask: str | None
    method: str


@dataclass(frozen=True, slots=True)
class Address:
    """An address at which the server may be reached."""

    host: str
    """The host, or the folder of the socket."""
    client: str | None
    """The client's address as the server sees it; None for the socket."""


@dataclass(frozen=True, slots=True)
class Logins:
    """The logins that are to be let in, and the databases that they work in."""

    databases: Sequence[str]
    users: Sequence[str]
    groups: frozenset[str] = field(default_factory=frozenset)
    """Roles that the logins are members of."""


def address_for_passwords(
    rules: Sequence[HbaRule], addresses: Iterable[Address], logins: Logins, *, ssl: bool
) -> tuple[Address, str] | None:
    """Return the first address that takes a password of all logins, and the rule's method.

    An address that asks for nothing (`trust`) is taken if no other takes a password. `ssl` says
    whether the server offers TLS: libpq then asks for it.
    """
    trusted = None
    for address in addresses:
        methods = {
            _method(rules, address, (database, user), logins.groups, ssl=ssl)
            for database in logins.databases
            for user in logins.users
        }
        if methods <= PASSWORD_METHODS:
            return address, min(map(str, methods))
        if methods <= PASSWORD_METHODS | {"trust"} and trusted is None:
            trusted = address, "trust"
    return trusted


def password_line(address: Address, logins: Logins) -> str:
    """Return the line of pg_hba.conf that lets the logins in."""
    databases = ",".join(map(quote_identifier, logins.databases))
    users = ",".join(map(quote_identifier, logins.users))
    if address.client is None:
        return f"local {databases} {users} scram-sha-256"
    bits = 128 if ":" in address.client else 32
    return f"host {databases} {users} {address.client}/{bits} scram-sha-256"


def _method(
    rules: Sequence[HbaRule],
    address: Address,
    names: tuple[str, str],
    groups: frozenset[str],
    *,
    ssl: bool,
) -> str | None:
    """Return the method of the first rule that matches; None if none does."""
    database, user = names
    for rule in rules:
        if (
            _is_of_kind(rule.kind, address, ssl=ssl)
            and _names_database(rule.databases, database, user)
            and _names_user(rule.users, user, groups)
            and _holds_address(rule, address)
        ):
            return rule.method
    return None


def _is_of_kind(kind: str, address: Address, *, ssl: bool) -> bool:
    if address.client is None:
        return kind == "local"
    return kind == "host" or _ENCRYPTED.get(kind) is ssl


def _names_database(names: Sequence[str], database: str, user: str) -> bool:
    return any(
        name in {"all", database}
        or (name == "sameuser" and user == database)
        or _matches_pattern(name, database)
        for name in names
    )


def _names_user(names: Sequence[str], user: str, groups: frozenset[str]) -> bool:
    return any(
        name in {"all", user}
        or (name[:1] == "+" and name[1:] in groups | {user})
        or _matches_pattern(name, user)
        for name in names
    )


def _matches_pattern(name: str, value: str) -> bool:
    """Return whether a name is a regular expression (from 16 on) that matches."""
    if name[:1] != "/":
        return False
    try:
        return re.search(name[1:], value) is not None
    except re.error:
        return False


def _holds_address(rule: HbaRule, address: Address) -> bool:
    if address.client is None or rule.address == "all":
        return True
    client = ipaddress.ip_address(address.client)
    if rule.address in {"samehost", "samenet", "localhost"}:
        return client.is_loopback
    try:
        network = ipaddress.ip_network(f"{rule.address}/{rule.netmask}", strict=False)
    except ValueError:
        return _prefix(rule, client)
    return client in network


def _prefix(rule: HbaRule, client: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Return whether an IPv6 network, whose mask the view gives as an address, holds the client.

    A host name is left out: only the server can look it up.
    """
    try:
        bits = int(ipaddress.IPv6Address(rule.netmask or "")).bit_count()
        return client in ipaddress.ip_network(f"{rule.address}/{bits}", strict=False)
    except ValueError:
        return False
