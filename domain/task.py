"""A due run: one job in one place, and its trigger."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class Scope(StrEnum):
    """The object of one run. Only a run in a database has a session."""

    DATABASE = "database"
    HOST = "host"
    SERVICE = "service"


@dataclass(frozen=True, slots=True)
class Trigger:
    """A schedule and its nominal local minute; both None for a run started by a person."""

    schedule: str | None = None
    nominal: datetime | None = None

    def minute(self) -> str | None:
        """Return the nominal minute as text, the form in which it identifies a run."""
        if self.nominal:
            return self.nominal.strftime("%Y-%m-%dT%H:%M")
        return None


NOW = Trigger()
"""The trigger of a run started by a person."""


@dataclass(frozen=True, slots=True)
class Request:
    """A person's request to a job; only the job knows the `details`."""

    subject: str
    """What it is about: the id of a migration."""
    principal: str
    reason: str
    details: Any = field(repr=False)
    id: str = ""
    """The id of the run in the ledger and in the HTTP interface."""
    action: str = ""
    """The work that is asked for, in one word: apply, rollback or adopt."""


@dataclass(frozen=True, slots=True)
class Task:
    """One job in one place, by name; `database` is empty outside the scope of a database."""

    job: str
    scope: Scope
    database: str
    trigger: Trigger = NOW
    request: Request | None = None

    @property
    def place(self) -> str:
        """Return the name of the queue: a database, the host, or the service."""
        return f"{self.scope.value} {self.database}".strip()
