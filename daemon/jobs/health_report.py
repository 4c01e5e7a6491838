"""The letter of the week: what needs you, what changed, the nights, growth, next week. Reads only the store."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from checks.check import Place
from daemon.config.model import Config
from daemon.jobs.job import Job, Looking, Scope, Verdict
from daemon.report.gather import gather
from daemon.report.publication import Publication
from daemon.report.report import Report
from postgres.step import Outcome, Status, Step


@dataclass(frozen=True, slots=True)
class Observation:
    """The report, where its page is kept, and who gets it."""

    report: Report
    folder: Path
    channels: tuple[str, ...]


def observe(looking: Looking) -> Observation:
    """Read the store."""
    with looking.reading() as transaction:
        report = gather(transaction, looking.config, looking.now)
    return Observation(report, folder(looking.config), readers(looking.config))


def folder(config: Config) -> Path:
    """Return where the pages are kept."""
    return config.jobs.health_report.folder or config.daemon.state.parent / "reports"


def readers(config: Config) -> tuple[str, ...]:
    """Return the channels that get the letter: those that are named, else all that are mail."""
    named = config.jobs.health_report.channels
    return named or tuple(name for name, options in config.channels.items() if options.type == "email")


def plan(seen: Observation) -> Sequence[Step]:
    """One letter."""
    return [Publication(seen.report, seen.folder, seen.channels)]


def judge(step: Step, outcome: Outcome, _place: Place) -> Verdict:
    """What was written is owed."""
    if outcome.status is not Status.DONE or not isinstance(step, Publication):
        return Verdict()
    return Verdict(letters=step.messages(outcome.found[0]))


JOB = Job(
    name="health_report",
    summary="the letter of the week: what needs you, what changed, the nights, growth, next week",
    scopes=(Scope.SERVICE,),
    observe=observe,
    plan=plan,
    judge=judge,
)
