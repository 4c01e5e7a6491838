"""The section [migrations]."""

import re
from datetime import timedelta
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from daemon.config.values import Conninfo
from domain.options import AbsolutePath, Duration, Model
from domain.secret import Secret

MIGRATE = "migrate"
"""The job of migrations: it has this section, not one of its own in [jobs]."""


Environment = Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,63}$")]


def _key(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9+/]{43}=", text):
        raise ValueError("is not a key as sereno migrate new-key prints it: 44 characters, base64")
    return text


class Rung(Model):
    """An environment whose evidence is accepted."""

    public_key: Annotated[str, AfterValidator(_key)] = Field(
        description="Its Ed25519 key, as sereno migrate new-key printed it there."
    )


class Migrations(Model):
    """Guarded migrations: `sereno migrate`."""

    folder: AbsolutePath | None = Field(
        None,
        description="The folder with one folder per migration.",
        examples=['"/etc/sereno/migrations"'],
    )
    environment: Environment = Field(
        "production", description="The rung of the ladder that this sereno is on."
    )
    ladder: tuple[Environment, ...] = Field(
        ("development", "testing", "staging", "pre-production", "production"),
        min_length=1,
        description="The environments in the order in which a migration passes them. The first "
        "has no gates; the last also asks for what a person attests.",
    )
    rungs: dict[Environment, Rung] = Field(
        default_factory=dict,
        description="The keys of the environments whose evidence is accepted here.",
    )
    signing_key: Secret | None = Field(
        None,
        description="The Ed25519 key that signs the evidence of this environment; "
        "sereno migrate new-key makes it.",
    )
    evidence_age: Duration = Field(
        timedelta(days=14),
        gt=timedelta(0),
        description="Evidence and rehearsals older than this open no gate.",
    )
    soak: Duration = Field(
        timedelta(days=1),
        description="The time between the phase before and cleanup or purge.",
    )
    maintenance_max: Duration = Field(
        timedelta(hours=4),
        gt=timedelta(0),
        description="The longest maintenance mode; it ends by itself.",
    )
    application_roles: tuple[str, ...] = Field(
        (), description="The roles of applications that may read sereno.maintenance."
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

    @model_validator(mode="after")
    def _on_the_ladder(self) -> Self:
        """Require that this environment and every rung are on the ladder."""
        if len(set(self.ladder)) < len(self.ladder):
            raise ValueError("ladder: an environment is listed twice")
        for name in (self.environment, *self.rungs):
            if name not in self.ladder:
                known = ", ".join(self.ladder)
                raise ValueError(f"{name!r} is not in ladder (which has {known})")
        return self
