"""`sereno check`: asks the checks and judges, writes nothing anywhere."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import psycopg

from checks.check import NotSeen, Place
from checks.finding import Finding
from checks.modulecheck import ModuleCheck
from checks.question import Question
from checks.sqlfile import BadCheckError
from daemon.history import Errand
from daemon.jobs import disk_check
from daemon.jobs.integrity_check import as_options
from daemon.jobs.job import Scope
from daemon.parts import Parts
from daemon.runner import Runner
from daemon.screen import Silent
from postgres.connection import Session, TargetError, session
from postgres.executor import first_line


@dataclass(slots=True)
class Looked:
    """What was found, what could not be seen, and what failed."""

    findings: list[Finding] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def look_now(wired: Parts, names: Sequence[str], only: str | None) -> Looked:
    """Ask the named checks, those of a cluster once."""
    looked = Looked()
    clusters: set[str] = set()
    for database in wired.config.databases if only is None else [only]:
        try:
            with session(wired.target(database), "maintain", "check", read_only=True) as opened:
                scopes = {"database"} if opened.facts.system_identifier in clusters else {"database", "cluster"}
                clusters.add(opened.facts.system_identifier)
                for name in names:
                    if wired.checks[name].scope in scopes:
                        _ask(wired, name, opened, looked)
        except (TargetError, psycopg.Error) as error:
            looked.failed.append(first_line(error))
    if "disk" in names:
        _disk(wired, looked)
    return looked


def _ask(wired: Parts, name: str, opened: Session, looked: Looked) -> None:
    check = wired.checks[name]
    options = as_options(wired.config.checks[name])
    place = Place(wired.config.daemon.name, opened.facts.system_identifier, opened.target.name)
    try:
        with opened.transaction():
            looked.findings += check.judge(check.look(opened, options), options, place)
    except NotSeen as unseen:
        looked.unseen.append(f"{opened.target.name}: {name}: {unseen}")
    except (BadCheckError, psycopg.Error) as error:
        looked.failed.append(f"{opened.target.name}: {name}: {first_line(error)}")


def _disk(wired: Parts, looked: Looked) -> None:
    runner = Runner(wired, Silent())
    for step in runner.plan(Errand(disk_check.JOB, Scope.HOST, "")):
        if isinstance(step, Question) and isinstance(step.check, ModuleCheck):
            rows = step.check.look(None, step.options)
            looked.findings += step.check.judge(rows, step.options, Place(wired.config.daemon.name))
