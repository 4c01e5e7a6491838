"""`sereno check`: the same questions as at night, by the same way; nothing is written, told or remembered."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import psycopg

from checks.finding import Finding
from daemon.history import Errand
from daemon.jobs.registry import JOBS
from daemon.parts import Parts
from daemon.runner import Runner
from daemon.screen import Silent
from postgres.connection import TargetError
from postgres.executor import first_line
from postgres.step import Status

LOOKING = ("integrity_check", "disk_check")


@dataclass(slots=True)
class Looked:
    """What was found, what could not be seen, and what failed."""

    findings: list[Finding] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def look_now(wired: Parts, names: Sequence[str], only: str | None) -> Looked:
    """Ask the named checks, those of a cluster once."""
    looked = Looked()
    runner = Runner(wired, Silent())
    for name in LOOKING:
        for scope, database in runner.places(JOBS[name], only):
            try:
                _take(runner, Errand(JOBS[name], scope, database), names, looked)
            except (TargetError, psycopg.Error, OSError) as error:
                looked.failed.append(first_line(error))
    return looked


def _take(runner: Runner, errand: Errand, names: Sequence[str], looked: Looked) -> None:
    for step, outcome, verdict in runner.look(errand, names):
        looked.findings += verdict.findings
        told = f"{errand.database or 'host'}: {step.object}: {outcome.reason}"
        if outcome.status is Status.SKIPPED:
            looked.unseen.append(told)
        elif outcome.status is not Status.DONE:
            looked.failed.append(told)
