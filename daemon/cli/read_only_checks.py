"""`sereno check`: the same questions as at night, by the same way.

Nothing is written, told or remembered.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import psycopg

from checks.registry import PAIRED
from daemon.config.model import Config
from daemon.context import Context
from daemon.runs import dry_run
from daemon.scheduling.tasks import tasks_of
from domain.finding import Finding
from domain.task import Task
from execution.errors import first_line
from execution.step import Status
from postgres.session import TargetError

CHECKING = ("integrity_check", "disk_check")


@dataclass(slots=True)
class CheckResults:
    """What was found, what could not be seen, and what failed."""

    findings: list[Finding] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)


def run_checks_now(context: Context, names: Sequence[str], only: str | None) -> CheckResults:
    """Ask the named checks, those of a cluster once."""
    looked = CheckResults()
    everything = replace(context, config=_nothing_excluded(context.config))
    for task in tasks_of(everything, CHECKING, only=only):
        try:
            _take(everything, task, names, looked)
        except (TargetError, psycopg.Error, OSError) as error:
            looked.failed.append(first_line(error))
    unasked = [
        f"{name}: not asked here ({_why(name)})" for name in sorted(set(names) - looked.asked)
    ]
    (looked.unseen if looked.asked else looked.failed).extend(unasked)
    return looked


def _why(name: str) -> str:
    if name in PAIRED:
        return f"no pair is declared: [[checks.{name}]]"
    return "a check of the cluster is asked through its first database"


def _nothing_excluded(config: Config) -> Config:
    """What is asked for by name is asked, though the nights leave it out."""
    wishes = config.job("integrity_check").model_copy(update={"exclude": ()})
    return config.model_copy(
        update={"jobs": config.jobs.model_copy(update={"integrity_check": wishes})}
    )


def _take(context: Context, task: Task, names: Sequence[str], looked: CheckResults) -> None:
    for step, outcome, verdict in dry_run.run_checks(context, task, names):
        looked.asked.add(step.object)
        looked.findings += verdict.findings
        told = f"{task.database or 'host'}: {step.object}: {outcome.reason}"
        if outcome.status is Status.SKIPPED:
            looked.unseen.append(told)
        elif outcome.status is not Status.DONE:
            looked.failed.append(told)
