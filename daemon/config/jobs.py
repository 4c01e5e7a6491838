"""The models of `[jobs.*]`: each job's own options, and the schedule that any job may have."""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, create_model

from daemon.config.values import CronText
from domain.secret import Secret
from jobs.option_types import Duration, Model
from jobs.registry import JOBS


class Times(Model):
    """The due times of a schedule, and its window."""

    cron: CronText = Field(
        description='Five fields, in the zone of [daemon]; "L" is the last day of a month.'
    )
    window: Duration = Field(
        timedelta(hours=2), description="From the due time; the rest goes on the next time."
    )
    jitter: Duration | None = Field(
        None,
        description="Be due up to so much later: a part of it that is always the same for one daemon.name.",
    )
    catch_up: Literal["always", "in_window", "never"] = Field(
        "in_window",
        description="What was missed while the service was down: run the last of it once, even after its window; "
        "only inside its window; or never. What is not run is told.",
    )
    heartbeat: Secret | None = Field(
        None,
        description="The URL of an outside dead-man's switch: pinged at /start, at the end, or at /fail.",
    )


class HealthReport(Model):
    """Writes and sends the weekly health report."""

    channels: tuple[str, ...] = Field(
        (), description="Who gets it; every email channel where none is named."
    )
    folder: Path | None = Field(
        None, description="Where its pages are kept; `reports` beside the state file."
    )


class SelfCleanup(Model):
    """Deletes the history, alerts, notifications and report pages that are older than daemon.keep."""


class JobOptions(Model):
    """Options that every job has besides its own."""

    schedule: Times | None = Field(
        None, description="A schedule of its own, beside the lists that name it."
    )


OPTIONS: dict[str, type[Model]] = {
    **{job.name: job.options for job in JOBS.values()},
    "self_cleanup": SelfCleanup,
    "health_report": HealthReport,
}
"""The option model of every job, in the order of the reference."""

MODELS: dict[str, type[Model]] = {
    name: create_model(name, __base__=(options, JobOptions), __doc__=options.__doc__)
    for name, options in OPTIONS.items()
}

if TYPE_CHECKING:
    Jobs = Model
else:
    fields: dict[str, Any] = {name: (model, model()) for name, model in MODELS.items()}
    Jobs = create_model("Jobs", __base__=Model, __doc__="The options of each job.", **fields)
