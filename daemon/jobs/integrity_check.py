"""Runs the checks: orphans, referential integrity, tenants, index health, and what the operator has put beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from alerts.policy import Coverage
from checks import judge as judges
from checks.check import Check, Options, Place
from checks.question import Question
from checks.registry import PAIRED
from daemon.config.model import CheckOptions
from daemon.history import Memory
from daemon.jobs.job import Job, Looking, Scope, Verdict
from postgres.step import Outcome, Status, Step


@dataclass(frozen=True, slots=True)
class Wanted:
    """A check with its options, and what it would ask."""

    check: Check
    options: Options
    text: str


@dataclass(frozen=True, slots=True)
class Observation:
    """The checks of this database, and how long each took the last time."""

    wanted: Sequence[Wanted]
    memory: Mapping[str, Memory]


def observe(looking: Looking) -> Observation:
    """Gather the checks; those of the cluster are asked through one of its databases only."""
    session = looking.session
    assert session is not None  # noqa: S101 - the scope is the database
    excluded = looking.config.jobs.integrity_check.exclude
    scopes = {"database", "cluster"} if looking.leads_cluster else {"database"}
    wanted = []
    for name, check in sorted(looking.checks.items()):
        if check.header.scope in scopes and name not in excluded:
            if name in PAIRED and not as_options(looking.config.checks[name], looking.database).get("pairs"):
                continue  # no pair is declared: to say "nothing found" would be to say too much
            options = as_options(looking.config.checks[name], looking.database)
            wanted.append(Wanted(check, options, check.question(session, options)))
    return Observation(wanted, looking.memory)


def as_options(configured: CheckOptions, database: str) -> Options:
    """Return what a check is asked with in a database."""
    pairs = tuple(one.pair for one in configured.pairs if one.database in {None, database})
    return {**configured.values, "pairs": pairs} if configured.pairs else configured.values


def plan(seen: Observation) -> Sequence[Step]:
    """The quickest first, so that a short window sees most."""
    steps = [_question(wanted, seen.memory.get(wanted.check.header.name)) for wanted in seen.wanted]
    return sorted(steps, key=lambda step: step.predicted_seconds)


def _question(wanted: Wanted, memory: Memory | None) -> Question:
    seconds = memory.seconds if memory else 0.0
    return Question(
        wanted.check, wanted.options, wanted.check.header.title, predicted_seconds=seconds, text=wanted.text
    )


def judge(step: Step, outcome: Outcome, place: Place) -> Verdict:
    """Each check's own judge; what it no longer finds is over, but only where it has really looked."""
    if outcome.status is not Status.DONE or not isinstance(step, Question):
        return Verdict()
    findings = judges.judge(step.check.header, outcome.found, step.options, place)
    if judges.blind(outcome.found):
        return Verdict(findings)
    database = "" if step.check.header.scope == "cluster" else place.database
    cluster = place.cluster if step.check.header.scope == "cluster" else None
    return Verdict(findings, (Coverage(step.check.header.name, database, cluster=cluster),))


JOB = Job(
    name="integrity_check",
    summary="orphans, foreign keys, tenants, constraints, indexes, sequences, wraparound, and your own checks",
    scopes=(Scope.DATABASE,),
    observe=observe,
    plan=plan,
    judge=judge,
    read_only=True,
)
