"""The place in which a check looks, and names of databases."""

from dataclasses import dataclass

SEPARATOR = "/"
"""Between the name of a group and that of a database of it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Instance, cluster and database; part of the identity of every finding made there."""

    instance: str = ""
    cluster: str = ""
    database: str = ""


def means(name: str | None, database: str) -> bool:
    """Return whether a name in the configuration means a database: by itself, or by its group.

    None means every database. A name with a separator is that of one database, not of a group.
    """
    if name is None or name == database:
        return True
    return SEPARATOR not in name and database.startswith(f"{name}{SEPARATOR}")


def may_meet(one: str | None, other: str | None) -> bool:
    """Return whether two names in the configuration may mean the same database."""
    return one is None or other is None or means(one, other) or means(other, one)
