"""The server and database in which a finding was made."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """Where a check looked; part of the identity of all it finds."""

    instance: str = ""
    cluster: str = ""
    database: str = ""
