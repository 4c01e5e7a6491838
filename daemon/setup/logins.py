"""The logins of a new sereno: one `maintain`, and one `data` for each trust domain. Pure.

Owners of tables are not known to trust each other, so each has a domain of its own; all superusers
are one.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from postgres.catalog.survey import SurveyedDatabase

SUPERUSERS = "superusers"
_UNSAFE = re.compile(r"[^a-z0-9_-]+")
LONGEST_SLUG = 36


@dataclass(frozen=True, slots=True)
class LoginName:
    """A role, and the name of the secret that keeps its password."""

    user: str
    secret: str


@dataclass(frozen=True, slots=True)
class DataLogin:
    """The `data` login of a trust domain."""

    domain: str
    owners: Sequence[str]
    login: LoginName


@dataclass(frozen=True, slots=True)
class DatabaseLogins:
    """The logins of one database."""

    name: str
    """Its name in the configuration."""
    maintain: LoginName
    data: Sequence[DataLogin]

    def owner_login(self, owner: str) -> tuple[str, LoginName]:
        """Return the path of the login `owner` of a table's owner, and its names."""
        one = next((one for one in self.data if owner in one.owners), self.data[0])
        user = one.login.user.replace("_data", "_owner", 1)
        secret = one.login.secret.replace("data", "owner", 1)
        inside = f".domains.{one.domain}" if len(self.data) > 1 else ""
        return f"databases.{self.name}{inside}", LoginName(user, secret)

    def all_logins(self) -> Sequence[LoginName]:
        """Return every login."""
        return [self.maintain, *(one.login for one in self.data)]


def plan_logins(databases: Sequence[SurveyedDatabase], prefix: str) -> Mapping[str, DatabaseLogins]:
    """Return the logins by the database's name on the server; databases share those of an owner."""
    domains = _domains(databases, prefix)
    names = _unique([_slug(one.name) for one in databases])
    without_tables = DataLogin("", (), LoginName(f"{prefix}_data", "data"))
    found = {}
    for one, name in zip(databases, names, strict=True):
        data = [domains[group] for group in _owner_groups(one)] or [without_tables]
        found[one.name] = DatabaseLogins(name, LoginName(f"{prefix}_maintain", "maintain"), data)
    return found


def _domains(
    databases: Sequence[SurveyedDatabase], prefix: str
) -> Mapping[tuple[str, ...], DataLogin]:
    """Return the trust domains by their owners; a single one needs no name."""
    groups = sorted({group for one in databases for group in _owner_groups(one)})
    if len(groups) == 1:
        return {groups[0]: DataLogin("", groups[0], LoginName(f"{prefix}_data", "data"))}
    superusers = {name for one in databases for name, is_one in one.owners.items() if is_one}
    slugs = _unique([SUPERUSERS if one[0] in superusers else _slug(one[0]) for one in groups])
    return {
        group: DataLogin(slug, group, LoginName(f"{prefix}_data_{slug}", f"data-{slug}"))
        for group, slug in zip(groups, slugs, strict=True)
    }


def _owner_groups(database: SurveyedDatabase) -> Sequence[tuple[str, ...]]:
    """Return the owners of tables: each alone, and all superusers together."""
    owners = database.owners
    superusers = tuple(sorted(name for name, superuser in owners.items() if superuser))
    others = [(name,) for name, superuser in sorted(owners.items()) if not superuser]
    return [*others, *([superusers] if superusers else [])]


def _slug(name: str) -> str:
    return _UNSAFE.sub("_", name.lower()).strip("_")[:LONGEST_SLUG] or "x"


def _unique(slugs: Sequence[str]) -> list[str]:
    """Return the slugs; one that occurs again gets a number."""
    taken: set[str] = set()
    found = []
    for slug in slugs:
        name, number = slug, 1
        while name in taken:
            number += 1
            name = f"{slug}_{number}"
        taken.add(name)
        found.append(name)
    return found
