"""The models of `[alerts]` and `[escalation]`."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from daemon.config.values import CronText, WorkingHours
from domain.finding import Severity
from jobs.option_types import Duration, Model

Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Counted = Annotated[int, Field(ge=1, le=1000)]


class Matching(Model):
    """Selects alerts by shell patterns; fields that are not given match everything."""

    severity: tuple[Severity, ...] = ()
    database: str = "*"
    job: str = Field("*", description="The task that it is about.")
    check: str = Field(
        "*", description="Its kind: the name of a check, or task_failed and the like."
    )
    object: str = "*"
    tag: str = Field("", description="One of its database's.")


class Threshold(Matching):
    """The number of findings and the duration before an alert fires, and before it ends."""

    failures: Counted = Field(1, description="Told when so many looks in a row have found it.")
    lasting: Duration | None = Field(None, description="And when it has been so for so long.")
    passes: Counted = Field(1, description="Over when so many looks in a row have not.")


class Route(Matching):
    """Channels instead of those of the severity. The first matching route decides."""

    channels: tuple[str, ...] = Field(examples=['["slack"]'])
    more: bool = Field(default=False, description="These as well, and look on.")
    repeat: Duration | None = Field(None, description="Told again after so long.")


class Maintenance(Matching):
    """Recurring silence for matching alerts; those still firing at its end are notified then."""

    cron: CronText = Field(
        description="When it begins, in the zone of [daemon].", examples=['"0 1 * * sat"']
    )
    lasting: Duration = Field(examples=['"3h"'])
    author: Words = Field(examples=['"who wants it"'])
    reason: Words = Field(examples=['"why"'])


class Alerting(Model):
    """How alerts are grouped, repeated and suppressed."""

    group_wait: Duration = Field(
        timedelta(seconds=15),
        description="What is not critical waits so long for others to go with it.",
    )
    group_interval: Duration = Field(
        timedelta(minutes=5), description="And so long after the last message of the same run."
    )
    reopen: Duration = Field(
        timedelta(hours=36),
        description="What comes back so soon is the same alert, ticket and thread (of a weekly job: 8 days).",
    )
    business_hours: WorkingHours = Field(
        "", description='What is not critical is repeated only then, like "mon-fri 08:00-18:00".'
    )
    hide_addresses: bool = Field(
        default=False, description="Take e-mail addresses out of what is told."
    )
    drill: Literal["never", "weekly", "monthly"] = Field(
        "never",
        description="Every channel is tried by itself, at 10:00 of a Monday or of the first of a month.",
    )
    thresholds: tuple[Threshold, ...] = ()
    routes: tuple[Route, ...] = ()
    maintenance: tuple[Maintenance, ...] = ()


class Rung(Model):
    """Channels notified of a critical alert that stays unacknowledged this long."""

    after: Duration = timedelta(minutes=30)
    channels: tuple[str, ...] = Field(min_length=1, examples=['["email"]'])


class Escalation(Model):
    """Escalation of critical alerts, and the fallback for channels that fail."""

    fallback: tuple[str, ...] = Field(
        (), description="Channels that are told what is critical and another one could not deliver."
    )
    undelivered: Duration = Field(
        timedelta(minutes=5),
        description="A channel that has delivered nothing for so long is told elsewhere.",
    )
    steps: tuple[Rung, ...] = ()
