"""pg_hba.conf: the address for which it lets logins in with a password. Pure.

The first rule that matches a connection decides (manual, 21.1 The pg_hba.conf File).
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from postgres.identifiers import quote_identifier

PASSWORD_METHODS = frozenset({"scram-sha-256", "md5", "password"})
_ENCRYPTED = {"host": None, "hostnogssenc": None, "hostssl": True, "hostnossl": False}
"""The kinds of rules for TCP without GSS encryption, and the TLS that they need."""
_UNKNOWN = "unknown"
"""The method where a rule cannot be evaluated: only the server can look up a host name."""
_PATTERNS_SINCE = 160000


@dataclass(frozen=True, slots=True)
class HbaRule:
    """A rule, as in the view pg_hba_file_rules; one with an error is left out by the server."""

    kind: str | None
    databases: Sequence[str] | None
    users: Sequence[str] | None
    address: str | None
    netmask: str | None
    method: str | None
    error: str | None = None


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
    groups: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """The roles that each login is, or will be, a member of."""
    version: int = 180000
    """The server's version: patterns of names exist from 16 on."""


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
            _method(rules, address, (database, user), logins, ssl=ssl)
            for database in logins.databases
            for user in logins.users
        }
        if methods and methods <= PASSWORD_METHODS:
            return address, min(map(str, methods))
        if methods and methods <= PASSWORD_METHODS | {"trust"} and trusted is None:
            trusted = address, "trust"
    return trusted


def password_line(address: Address, logins: Logins) -> str:
    """Return the line of pg_hba.conf that lets the logins in; quoted names have no other meaning.

    A database that is called `all` would otherwise open every database.
    """
    databases = ",".join(map(_quoted, logins.databases))
    users = ",".join(map(_quoted, logins.users))
    if address.client is None:
        return f"local {databases} {users} scram-sha-256"
    bits = 128 if ":" in address.client else 32
    return f"host {databases} {users} {address.client}/{bits} scram-sha-256"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if name in _KEYWORDS else quote_identifier(name)


_KEYWORDS = frozenset({"all", "sameuser", "samerole", "samegroup", "replication"})


def _method(
    rules: Sequence[HbaRule],
    address: Address,
    names: tuple[str, str],
    logins: Logins,
    *,
    ssl: bool,
) -> str | None:
    """Return the method of the first rule that matches, or that may; None if none does."""
    database, user = names
    for rule in rules:
        if rule.error or not _is_of_kind(rule.kind, address, ssl=ssl):
            continue
        if not _names_database(rule.databases or (), (database, user), logins):
            continue
        if not _names_user(rule.users or (), user, logins):
            continue
        held = _holds_address(rule, address)
        if held is None:
            return _UNKNOWN
        if held:
            return rule.method
    return None


def _is_of_kind(kind: str | None, address: Address, *, ssl: bool) -> bool:
    if address.client is None or kind not in _ENCRYPTED:
        return address.client is None and kind == "local"
    needed = _ENCRYPTED[str(kind)]
    return needed is None or needed is ssl


def _names_database(names: Sequence[str], of: tuple[str, str], logins: Logins) -> bool:
    database, user = of
    member = database in logins.groups.get(user, ()) or user == database
    return any(
        name in {"all", database}
        or (name == "sameuser" and user == database)
        or (name in {"samerole", "samegroup"} and member)
        or _matches_pattern(name, database, logins)
        for name in names
        if name != "replication"
    )


def _names_user(names: Sequence[str], user: str, logins: Logins) -> bool:
    groups = logins.groups.get(user, frozenset())
    return any(
        name in {"all", user}
        or (name[:1] == "+" and name[1:] in groups | {user})
        or _matches_pattern(name, user, logins)
        for name in names
    )


def _matches_pattern(name: str, value: str, logins: Logins) -> bool:
    """Return whether a name is a regular expression (from 16 on) that matches."""
    if name[:1] != "/" or logins.version < _PATTERNS_SINCE:
        return False
    try:
        return re.search(name[1:], value) is not None
    except re.error:
        return False


def _holds_address(rule: HbaRule, address: Address) -> bool | None:
    """Return whether a rule holds the client's address; None if only the server can tell."""
    if address.client is None or rule.address == "all":
        return True
    client = ipaddress.ip_address(address.client)
    if rule.address in {"samehost", "samenet", "localhost"}:
        return True if client.is_loopback else None
    bits = _bits(rule.netmask)
    try:
        network = ipaddress.ip_network(f"{rule.address}/{bits}", strict=False)
    except ValueError:
        return None
    return client in network


def _bits(netmask: str | None) -> int | None:
    """Return the length of a mask, which the view gives as an address."""
    try:
        return int(ipaddress.ip_address(netmask or "")).bit_count()
    except ValueError:
        return None
