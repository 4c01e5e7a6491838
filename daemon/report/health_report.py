"""The job that writes the weekly health report. Reads only the store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from alerts.catalogue import Tongue
from daemon.config.alert_policy import channel_languages
from daemon.config.jobs import HealthReport
from daemon.config.model import Config
from daemon.report.gather import gather
from daemon.report.publication import PublishReport
from daemon.report.report import Report
from domain.place import Place
from domain.task import Scope
from execution.step import Outcome, Status, Step
from jobs.job import Job, JobInputs, Verdict
from store.store import Store

NAME = "health_report"


@dataclass(frozen=True, slots=True)
class Observation:
    """The report, the folder of its page, and the channels that receive it."""

    report: Report
    folder: Path
    tongue: Tongue
    """The language of the page."""
    channels: Mapping[str, Tongue]
    """The language of each channel."""


def job(config: Config, store: Store) -> Job:
    """Return the job, bound to the service's configuration and store."""

    def observe(inputs: JobInputs) -> Observation:
        with store.reading() as transaction:
            report = gather(transaction, config, inputs.now, inputs.checks)
        own = config.job(NAME).language
        return Observation(report, page_folder(config), own, languages(config))

    return Job(
        name=NAME,
        summary="write and send the weekly health report",
        scopes=(Scope.SERVICE,),
        observe=observe,
        plan=plan,
        judge=judge,
        options=HealthReport,
    )


def page_folder(config: Config) -> Path:
    """Return the folder of the report pages."""
    return config.job(NAME).folder or config.daemon.local_folder / "reports"


def receivers(config: Config) -> tuple[str, ...]:
    """Return the channels that receive the report: the configured ones, else all of type email."""
    named: tuple[str, ...] = config.job(NAME).channels
    return named or tuple(
        name for name, options in config.channels.items() if options.type == "email"
    )


def languages(config: Config) -> Mapping[str, Tongue]:
    """Return the language of each channel that receives the report."""
    known = channel_languages(config)
    return {name: known[name] for name in receivers(config)}


def plan(seen: Observation) -> Sequence[Step]:
    """Return one step: write and send the report."""
    return [PublishReport.of(seen.report, seen.folder, seen.tongue, seen.channels)]


def judge(step: Step, outcome: Outcome, _place: Place) -> Verdict:
    """Return the messages to enqueue for a report that was written."""
    if outcome.status is not Status.DONE or not isinstance(step, PublishReport):
        return Verdict()
    return Verdict(reports=step.messages(outcome.found[0]))
