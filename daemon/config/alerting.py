"""The models of `[alerts]` and `[escalation]`."""

from datetime import timedelta
from typing import Literal

from pydantic import Field

from alerts.rules import EscalationStep, Maintenance, Route, Threshold
from daemon.config.values import WorkingHours
from domain.options import Duration, Model


class Alerting(Model):
    """How alerts are grouped, repeated and suppressed."""

    group_wait: Duration = Field(
        timedelta(seconds=15),
        description="How long to collect non-critical alerts into one message.",
    )
    group_interval: Duration = Field(
        timedelta(minutes=5), description="Minimum time between two grouped messages of a run."
    )
    reopen: Duration = Field(
        timedelta(hours=36),
        description=(
            "An alert that recurs within this time keeps its number, ticket and thread (weekly "
            "jobs: 8 days)."
        ),
    )
    business_hours: WorkingHours = Field(
        "",
        description=(
            'Non-critical alerts are repeated only within these hours, like "mon-fri 08:00-18:00".'
        ),
    )
    hide_addresses: bool = Field(
        default=False, description="Remove e-mail addresses from messages."
    )
    channel_test: Literal["never", "weekly", "monthly"] = Field(
        "never",
        description="Test every channel at 10:00, on Mondays or on the first of the month.",
    )
    thresholds: tuple[Threshold, ...] = ()
    routes: tuple[Route, ...] = ()
    maintenance: tuple[Maintenance, ...] = ()


class Escalation(Model):
    """Escalation of critical alerts, and the fallback for channels that fail."""

    fallback: tuple[str, ...] = Field(
        (),
        description="Channels notified of critical alerts that another channel could not deliver.",
    )
    undelivered: Duration = Field(
        timedelta(minutes=5),
        description="Alert on other channels about a channel that has delivered nothing for this "
        "long.",
    )
    steps: tuple[EscalationStep, ...] = ()
