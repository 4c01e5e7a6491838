"""The place in which a check looks."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """Instance, cluster and database; part of the identity of every finding made there."""

    instance: str = ""
    cluster: str = ""
    database: str = ""
