"""The models of `[jobs.*]`: each job's own options, and the schedule that any job may have."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, create_model

from domain.options import AbsolutePath, CronText, Duration, Model
from domain.secret import Secret
from jobs.registry import JOBS


class Times(Model):
    """The due times of a schedule, and its window."""

    cron: CronText = Field(
        description='Five cron fields, in the zone of [daemon]; "L" is the last day of a month.'
    )
    window: Duration = Field(
        timedelta(hours=2),
        description=(
            "Time from the due time in which steps may begin; the next run continues with the rest."
        ),
    )
    jitter: Duration | None = Field(
        None,
        description="Delay each due time by a fixed share of this span, derived from daemon.name.",
    )
    catch_up: Literal["always", "in_window", "never"] = Field(
        "in_window",
        description="Missed runs: `always` run the latest once; `in_window` only if its window "
        "is still open; "
        "`never` skip. A run that is skipped is an alert.",
    )
    heartbeat: Secret | None = Field(
        None,
        description="URL of an external dead-man's switch: pinged at /start, at the end, or at "
        "/fail.",
    )


class HealthReport(Model):
    """Writes and sends the weekly health report."""

    channels: tuple[str, ...] = Field(
        (), description="Channels that receive the report; by default every email channel."
    )
    folder: AbsolutePath | None = Field(
        None, description="Folder of the report pages; by default `reports` beside the state file."
    )
    language: Literal["en", "es"] = Field(
        "en", description="Language of the page, and of channels without a language of their own."
    )


class SelfCleanup(Model):
    """Deletes history, alerts, notifications and report pages older than daemon.keep."""


class JobOptions(Model):
    """Options that every job has besides its own."""

    schedule: Times | None = Field(
        None, description="A schedule of the job's own, besides the lists that name it."
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
