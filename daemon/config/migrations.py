"""The section [migrations]."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from daemon.config.values import Conninfo
from domain.options import AbsolutePath, Duration, Model

MIGRATE = "migrate"
"""The job of migrations: it has this section, not one of its own in [jobs]."""


class Migrations(Model):
    """Guarded migrations: `sereno migrate`."""

    folder: AbsolutePath | None = Field(
        None,
        description="The folder with one folder per migration.",
        examples=['"/etc/sereno/migrations"'],
    )
    environment: Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,63}$")] = Field(
        "production", description="The name of this environment, in the ledger and in evidence."
    )
    scratch: Conninfo | None = Field(
        None,
        description="A server for rehearsals, where databases may be created and dropped; never "
        "that of a configured database.",
        examples=['"host=/run/postgresql-scratch dbname=postgres"'],
        repr=False,
    )
    lock_budget: Duration = Field(
        timedelta(minutes=10),
        gt=timedelta(0),
        description="How long a file may try to get its locks, in tries of at most 0.3 s.",
    )
    check_age: Duration = Field(
        timedelta(minutes=10),
        gt=timedelta(0),
        description="The check of `data` is run again before `tighten` if it is older than this.",
    )
